/* free keeps errno (POSIX 2024), whatever the size and however much it gives back; so do successful allocations. */
#include "check.h"

int main(void) {
  for (size_t size = 1; size <= 256 * MIB; size += size / 3 + 1) {
    errno = 12345;
    char *object = hide(malloc(size));
    CHECK(object != NULL);
    object[0] = object[size - 1] = 1;
    CHECK(errno == 12345);
    object = hide(realloc(object, size + size / 2));
    CHECK(object != NULL);
    CHECK(errno == 12345);
    free(object);
    CHECK(errno == 12345);
  }
  enum { kObjects = 200000 };
  char **objects = calloc(kObjects, sizeof *objects);
  errno = 12345;
  for (int i = 0; i < kObjects; ++i) {
    objects[i] = hide(malloc((size_t)i % 2000));
    CHECK(objects[i] != NULL);
    CHECK(errno == 12345);
  }
  for (int i = 0; i < kObjects; ++i) {
    free(objects[i]);
    CHECK(errno == 12345);
  }
  free(objects);
  free(NULL);
  CHECK(errno == 12345);
  return 0;
}
