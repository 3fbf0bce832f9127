/* realloc of a large object that is free already; found at once. */
#include "misuse.h"

int main(void) {
  void *object = hide(malloc(1 << 20));
  free(object);
  if (realloc(hide(object), 2 << 20) != NULL) return 1;
  return finished();
}
