/* Both frees of an object wait in the pool, with others between them, when it is flushed. */
#include "misuse.h"

int main(void) {
  void *object = hide(malloc(64));
  void *other = hide(malloc(64));
  gather_crowd(64);
  free(object);
  free(other);
  free(hide(object));
  free_crowd();
  return finished();
}
