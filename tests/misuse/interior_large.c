/* An interior pointer of an object of 1 MiB is freed; argument: how far inside. Found at once. */
#include "misuse.h"

int main(int count, char **arguments) {
  char *object = hide(malloc(1 << 20));
  free(hide(object + (count > 1 ? strtoul(arguments[1], NULL, 10) : 0)));
  return finished();
}
