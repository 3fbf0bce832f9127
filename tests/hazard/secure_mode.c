/* A set-user-ID program that is linked with the library: AT_SECURE is set, so the environment has no say. Prints one line
   if it runs with the heap and no budget holds. */
#include "check.h"

#include <sys/auxv.h>

int main(void) {
  CHECK(getauxval(AT_SECURE) == 1);
  char *object = hide(malloc(64 * MIB));
  CHECK(object != NULL);
  memset(object, 1, 64 * MIB);
  free(object);
  puts("finished");
  return 0;
}
