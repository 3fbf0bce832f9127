/* The second free comes long after the first has left the pool for a slab or the depot. */
#include "misuse.h"

int main(void) {
  void *object = hide(malloc(64));
  gather_crowd(64);
  free(object);
  for (int i = 0; i < kCrowd / 2; ++i) free(crowd[i]);
  free(hide(object));
  for (int i = kCrowd / 2; i < kCrowd; ++i) free(crowd[i]);
  return finished();
}
