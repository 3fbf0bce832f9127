/* Sizes above PTRDIFF_MAX and products that overflow: null and ENOMEM from every entry point, and the old object stays. */
#include "check.h"
#include <malloc.h>

#define REFUSED(call)        \
  do {                       \
    errno = 0;               \
    CHECK((call) == NULL);   \
    CHECK(errno == ENOMEM);  \
  } while (0)

static size_t opaque(size_t size) { return (size_t)(uintptr_t)hide((void *)size); }

int main(void) {
  const size_t sizes[] = {(size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX / 2 + 4096, SIZE_MAX - 65536,
                          SIZE_MAX - 4096,     SIZE_MAX - 64,           SIZE_MAX - 16,       SIZE_MAX - 15,
                          SIZE_MAX - 1,        SIZE_MAX};
  char *kept[] = {hide(malloc(100)), hide(malloc(100000))};
  memset(kept[0], 'x', 100);
  memset(kept[1], 'x', 100000);

  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    size_t size = opaque(sizes[i]);
    REFUSED(malloc(size));
    REFUSED(calloc(size, 1));
    REFUSED(calloc(1, size));
    REFUSED(realloc(NULL, size));
    REFUSED(aligned_alloc(64, size));
    REFUSED(aligned_alloc(65536, size));
    REFUSED(memalign(64, size));
    REFUSED(memalign(4096, size));
    REFUSED(valloc(size));
    REFUSED(pvalloc(size));
    for (int k = 0; k < 2; ++k) {
      REFUSED(realloc(kept[k], size));
      REFUSED(reallocarray(kept[k], 1, size));
    }
    void *untouched = &untouched;
    errno = 77;
    CHECK(posix_memalign(&untouched, 64, size) == ENOMEM);
    CHECK(untouched == &untouched);
    CHECK(errno == 77);
  }

  const size_t factors[][2] = {{SIZE_MAX / 2, 3}, {(size_t)1 << 32, (size_t)1 << 32}, {SIZE_MAX, 2}, {SIZE_MAX, SIZE_MAX},
                               {((size_t)1 << 32) + 1, (size_t)1 << 32}, {SIZE_MAX / 16 + 2, 16}, {24, SIZE_MAX / 24 + 1}};
  for (size_t i = 0; i < sizeof factors / sizeof *factors; ++i) {
    size_t a = opaque(factors[i][0]), b = opaque(factors[i][1]);
    REFUSED(calloc(a, b));
    REFUSED(calloc(b, a));
    REFUSED(reallocarray(NULL, a, b));
    for (int k = 0; k < 2; ++k) {
      REFUSED(reallocarray(kept[k], a, b));
      REFUSED(reallocarray(kept[k], b, a));
    }
  }

  for (size_t i = 0; i < 100; ++i) CHECK(kept[0][i] == 'x');
  for (size_t i = 0; i < 100000; ++i) CHECK(kept[1][i] == 'x');
  free(kept[0]);
  free(kept[1]);
  return 0;
}
