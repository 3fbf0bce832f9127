/* malloc_trim gives freed memory back, small and large: what is resident falls, and the memory can be used again. */
#include "check.h"
#include <malloc.h>

enum { kSmall = 64 * 1024 * 16, kLarge = 64 };
static char *small[kSmall];
static char *large[kLarge];

int main(void) {
  memset(small, 0, sizeof small);
  memset(large, 0, sizeof large);
  size_t start = resident_bytes();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kSmall; ++i) memset(small[i] = hide(malloc(64)), 1, 64);
    for (int i = 0; i < kLarge; ++i) memset(large[i] = hide(malloc(MIB)), 1, MIB);
    CHECK(resident_bytes() >= start + 128 * MIB);
    for (int i = 0; i < kSmall; ++i) free(small[i]);
    for (int i = 0; i < kLarge; ++i) free(large[i]);
    CHECK(malloc_trim(0) == 1);
    CHECK(resident_bytes() <= start + 8 * MIB);
  }
  return 0;
}
