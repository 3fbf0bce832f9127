/* The address of a static object is freed: no page of the heap. */
#include "misuse.h"

static char object[64];

int main(void) {
  free(hide(object));
  free(hide(object + 8));
  return finished();
}
