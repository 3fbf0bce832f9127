/* malloc_usable_size of a static object: no page of the heap, so no byte of it may be used. */
#include "misuse.h"
#include <malloc.h>

static char object[64];

int main(void) {
  if (malloc_usable_size(hide(object)) != 0) return 1;
  return finished();
}
