/* Allocates once and ends with status 7. Linked statically too. */
#include <stdlib.h>

int main(void) {
  void *volatile object = malloc(100);
  free(object);
  return 7;
}
