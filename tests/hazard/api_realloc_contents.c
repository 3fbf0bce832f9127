/* realloc keeps what was there, over every crossing between small, large and moved, up and down, beside neighbours. */
#include "check.h"

enum { kBuffers = 8 };
static unsigned char *buffers[kBuffers];
static size_t sizes[kBuffers];

static unsigned char pattern(int buffer, size_t i) { return (unsigned char)(i * 31 + (size_t)buffer * 7 + (i >> 12)); }

static void resize(int buffer, size_t size) {
  size_t kept = size < sizes[buffer] ? size : sizes[buffer];
  buffers[buffer] = hide(realloc(buffers[buffer], size));
  CHECK(buffers[buffer] != NULL);
  CHECK(is_aligned(buffers[buffer], 16));
  for (size_t i = 0; i < kept; ++i) CHECK(buffers[buffer][i] == pattern(buffer, i));
  for (size_t i = kept; i < size; ++i) buffers[buffer][i] = pattern(buffer, i);
  sizes[buffer] = size;
}

int main(void) {
  const size_t steps[] = {1, 15, 16, 17, 100, 1024, 1025, 5000, 8192, 30000, 32768, 32769, 65536, 70000, 300000, 1048576,
                          1048577, 5000000};
  const int count = sizeof steps / sizeof *steps;
  for (int from = 0; from < count; ++from) {
    for (int to = 0; to < count; ++to) {
      int buffer = (from + to) % kBuffers;
      resize(buffer, steps[from]);
      resize(buffer, steps[to]);
    }
  }
  uint64_t random = 88172645463325252u;
  for (int i = 0; i < 1500; ++i) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    resize((int)(random % kBuffers), 1 + (random >> 8) % ((size_t)1 << (random >> 40) % 22));
  }
  for (int buffer = 0; buffer < kBuffers; ++buffer) {
    resize(buffer, sizes[buffer]);
    free(buffers[buffer]);
  }
  return 0;
}
