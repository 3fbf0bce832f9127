/* Freed twice, and the end comes before anything flushes the pool. */
#include "misuse.h"

int main(void) {
  char *first = hide(malloc(64));
  char *second = hide(malloc(64));
  free(first);
  free(second);
  free(hide(first));
  finished();
  fflush(stdout);
  return 0;
}
