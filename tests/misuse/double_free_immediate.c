/* A small object is freed twice in a row: the pool's top is the object itself. */
#include "misuse.h"

int main(void) {
  void *object = hide(malloc(64));
  free(object);
  free(hide(object));
  return finished();
}
