/* malloc_usable_size of an interior pointer of a large object; found at once. */
#include "misuse.h"
#include <malloc.h>

int main(void) {
  char *object = hide(malloc(1 << 20));
  if (malloc_usable_size(hide(object + 4096)) != 0) return 1;
  return finished();
}
