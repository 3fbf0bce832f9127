/* An interior pointer of a small object is freed; argument: how far inside. Found when the pool is flushed. */
#include "misuse.h"

int main(int count, char **arguments) {
  char *object = hide(malloc(64));
  gather_crowd(64);
  free(hide(object + (count > 1 ? strtoul(arguments[1], NULL, 10) : 0)));
  free_crowd();
  return finished();
}
