/* Pointers at the start of a page behind one that cannot be read: where a header would be, there is nothing to look at. */
#include "misuse.h"
#include <malloc.h>
#include <sys/mman.h>

int main(void) {
  char *mapping = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mprotect(mapping, 4096, PROT_NONE) != 0) return 1;
  free(hide(mapping + 4096));
  if (malloc_usable_size(hide(mapping + 4096)) != 0) return 2;
  if (realloc(hide(mapping + 4096), 100) != NULL) return 3;
  free(hide(mapping + 16));
  return finished();
}
