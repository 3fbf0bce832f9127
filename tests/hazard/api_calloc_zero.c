/* calloc is zero to the last byte it was asked for, in memory that was dirty before, small and large, grown or new. */
#include "check.h"
#include <malloc.h>

int main(void) {
  enum { kObjects = 200 };
  static unsigned char *objects[kObjects];
  for (size_t size = 1; size <= 8 * MIB; size += size / 2 + 1) {
    int count = size > 64 * 1024 ? 4 : kObjects;
    for (int round = 0; round < 3; ++round) {
      for (int i = 0; i < count; ++i) {
        objects[i] = hide(calloc(i % 2 ? 1 : size, i % 2 ? size : 1));
        CHECK(objects[i] != NULL);
        for (size_t k = 0; k < size; ++k) CHECK(objects[i][k] == 0);
        memset(objects[i], 0xff, malloc_usable_size(objects[i]));
      }
      for (int i = 0; i < count; ++i) free(objects[i]);
      if (round == 1) malloc_trim(0);
    }
  }
  return 0;
}
