/* The address of a local variable is freed: no page of the heap. */
#include "misuse.h"

int main(void) {
  char local[64];
  free(hide(local));
  free(hide(local + 8));
  return finished();
}
