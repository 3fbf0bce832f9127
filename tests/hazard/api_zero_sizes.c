/* Size zero: a unique object that can be freed; realloc(p, 0) frees and returns null; realloc(NULL, 0) is malloc(0). */
#include "check.h"
#include <malloc.h>

enum { kObjects = 1000, kKinds = 9 };
static void *objects[kObjects * kKinds];

static int by_address(const void *left, const void *right) {
  uintptr_t a = *(const uintptr_t *)left, b = *(const uintptr_t *)right;
  return a < b ? -1 : a > b;
}

int main(void) {
  size_t count = 0;
  for (int i = 0; i < kObjects; ++i) {
    objects[count++] = hide(malloc(0));
    objects[count++] = hide(calloc(0, 8));
    objects[count++] = hide(calloc(8, 0));
    objects[count++] = hide(realloc(NULL, 0));
    objects[count++] = hide(reallocarray(NULL, 0, 8));
    objects[count++] = hide(aligned_alloc(64, 0));
    objects[count++] = hide(memalign(64, 0));
    objects[count++] = hide(valloc(0));
    CHECK(posix_memalign(&objects[count++], 64, 0) == 0);
  }
  CHECK(count == kObjects * kKinds);
  qsort(objects, count, sizeof *objects, by_address);
  for (size_t i = 0; i < count; ++i) {
    CHECK(objects[i] != NULL);
    CHECK(i == 0 || objects[i] != objects[i - 1]);
  }
  for (size_t i = 0; i < count; ++i) free(objects[i]);
  free(NULL);

  const size_t sizes[] = {1, 64, 5000, 40000, 3000000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    size_t before = 0;
    for (int round = 0; round < 2000; ++round) {
      if (round == 200) before = resident_bytes();
      for (int array = 0; array < 2; ++array) {
        char *object = hide(malloc(sizes[i]));
        CHECK(object != NULL);
        object[0] = object[sizes[i] - 1] = 1;
        errno = 0;
        CHECK((array ? reallocarray(object, 0, 8) : realloc(object, 0)) == NULL);
        CHECK(errno == 0);
      }
    }
    CHECK(resident_bytes() < before + 4 * MIB);
  }
  return 0;
}
