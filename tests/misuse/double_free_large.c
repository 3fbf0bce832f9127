/* A large object is freed twice; argument: its size. */
#include "misuse.h"

int main(int count, char **arguments) {
  void *object = hide(malloc(count > 1 ? strtoul(arguments[1], NULL, 10) : 0));
  free(object);
  free(hide(object));
  return finished();
}
