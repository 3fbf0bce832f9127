/* realloc of a static object: no page of the heap, so nothing can be said about its size and the answer is null. */
#include "misuse.h"
#include <errno.h>

static char object[64];

int main(void) {
  errno = 0;
  if (realloc(hide(object), 128) != NULL) return 1;
  if (errno == 0) return 2;
  return finished();
}
