/* Pointers far outside the heap are freed: its own mapping, the first and the last addresses, and a non-canonical one. */
#include "misuse.h"
#include <stdint.h>
#include <sys/mman.h>

int main(void) {
  char *mapping = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  free(hide(mapping + 4096));
  free(hide((void *)(uintptr_t)16));
  free(hide((void *)(UINTPTR_MAX - 15)));
  free(hide((void *)((uintptr_t)1 << 56)));
  return finished();
}
