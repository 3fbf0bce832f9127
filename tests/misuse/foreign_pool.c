/* Objects of a pool that the program brings along, with headers that could be libc's: a size, with each of its flags. */
#include "misuse.h"
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t sizes[] = {32, 64, 1040, 4096, 65536, 1 << 20};

static void use(size_t *pool) {
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    for (size_t flags = 0; flags < 8; ++flags) {
      size_t *object = pool + 2 + (i * 8 + flags) * 4;
      object[-2] = 0x1234;
      object[-1] = sizes[i] | flags;
      if (malloc_usable_size(hide(object)) != 0) exit(1);
      free(hide(object));
    }
  }
}

int main(void) {
  enum { kBytes = 256 << 20 };
  char *mapping = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  use((size_t *)mapping);
  /* Where the heap of another of libc's arenas would start, with words that point anywhere. */
  size_t *heap = (size_t *)(((uintptr_t)mapping + (64 << 20)) & ~(((uintptr_t)64 << 20) - 1));
  heap[0] = (size_t)(heap + 4);
  heap[2] = 64 << 20;
  use(heap + 64);
  heap[0] = 0x1234;
  use(heap + 64);
  use(sbrk(1 << 20)); /* in the memory that libc's main arena takes */
  return finished();
}
