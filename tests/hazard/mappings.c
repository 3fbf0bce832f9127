/* Purging splits no mapping (vm.max_map_count): after a load that leaves holes everywhere and gives them back, the
   process has few more mappings than before. And it claims little address space. */
#include "check.h"
#include <malloc.h>

static int count_mappings(void) {
  static char text[1 << 16];
  int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), lines = 0;
  CHECK(file >= 0);
  for (ssize_t length; (length = read(file, text, sizeof text)) > 0;)
    for (ssize_t i = 0; i < length; ++i) lines += text[i] == '\n';
  close(file);
  return lines;
}

int main(void) {
  enum { kObjects = 4000 };
  static char *objects[kObjects];
  free(hide(malloc(16)));
  CHECK(virtual_bytes() < 256 * MIB);
  int before = count_mappings();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kObjects; ++i) {
      size_t size = (size_t)(i * 7919 % 50 + 1) * 4096;
      if (objects[i] != NULL) continue;
      CHECK((objects[i] = hide(malloc(size))) != NULL);
      memset(objects[i], 1, size);
    }
    for (int i = 0; i < kObjects; ++i) {
      if (i * 104729 % 3 == 0) continue;
      free(objects[i]);
      objects[i] = NULL;
    }
    malloc_trim(0);
    CHECK(count_mappings() <= before + 40);
  }
  return 0;
}
