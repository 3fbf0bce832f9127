/* An address inside the heap that no object ever had: the last unit of the first object's region. */
#include "misuse.h"
#include <stdint.h>

int main(void) {
  const uintptr_t region = (uintptr_t)1 << 21;
  uintptr_t object = (uintptr_t)hide(malloc(64));
  free(hide((void *)((object & ~(region - 1)) + region - (64 << 10))));
  return finished();
}
