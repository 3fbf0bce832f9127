/* realloc of an interior pointer of a large object; found at once. */
#include "misuse.h"

int main(void) {
  char *object = hide(malloc(1 << 20));
  if (realloc(hide(object + 4096), 2 << 20) != NULL) return 1;
  return finished();
}
