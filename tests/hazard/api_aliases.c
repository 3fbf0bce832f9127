/* The entry points with other names (__libc_malloc, cfree, C23's sized frees …) work, and mix with the plain ones. */
#include "check.h"
#include <dlfcn.h>
#include <malloc.h>

static void *symbol(const char *name) {
  void *address = dlsym(RTLD_DEFAULT, name);
  if (address == NULL) fprintf(stderr, "no symbol %s\n", name);
  CHECK(address != NULL);
  return address;
}

int main(void) {
  void *(*libc_malloc)(size_t) = (void *(*)(size_t))symbol("__libc_malloc");
  void *(*libc_calloc)(size_t, size_t) = (void *(*)(size_t, size_t))symbol("__libc_calloc");
  void *(*libc_realloc)(void *, size_t) = (void *(*)(void *, size_t))symbol("__libc_realloc");
  void *(*libc_memalign)(size_t, size_t) = (void *(*)(size_t, size_t))symbol("__libc_memalign");
  void *(*libc_valloc)(size_t) = (void *(*)(size_t))symbol("__libc_valloc");
  void *(*libc_pvalloc)(size_t) = (void *(*)(size_t))symbol("__libc_pvalloc");
  int (*posix)(void **, size_t, size_t) = (int (*)(void **, size_t, size_t))symbol("__posix_memalign");
  void (*libc_free)(void *) = (void (*)(void *))symbol("__libc_free");
  void (*c_free)(void *) = (void (*)(void *))symbol("cfree");
  void (*free_sized)(void *, size_t) = (void (*)(void *, size_t))symbol("free_sized");
  void (*free_aligned_sized)(void *, size_t, size_t) = (void (*)(void *, size_t, size_t))symbol("free_aligned_sized");

  const size_t sizes[] = {0, 1, 100, 3000, 50000, 5000000};
  for (int round = 0; round < 100; ++round) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
      size_t size = sizes[i];
      void *objects[] = {libc_malloc(size),
                         libc_calloc(size, 1),
                         libc_realloc(malloc(5), size + 1),
                         libc_memalign(128, size),
                         libc_valloc(size),
                         libc_pvalloc(size),
                         malloc(size),
                         aligned_alloc(4096, size),
                         calloc(1, size),
                         NULL};
      CHECK(posix(&objects[9], 256, size) == 0);
      for (int k = 0; k < 10; ++k) {
        CHECK(objects[k] != NULL);
        CHECK(malloc_usable_size(objects[k]) >= size);
        memset(objects[k], k, size);
      }
      libc_free(objects[6]);
      free_sized(objects[0], size);
      free_sized(objects[1], size);
      c_free(objects[2]);
      free_aligned_sized(objects[3], 128, size);
      free(objects[4]);
      libc_free(objects[5]);
      free_aligned_sized(objects[7], 4096, size);
      c_free(objects[8]);
      free(objects[9]);
    }
  }
  libc_free(NULL);
  c_free(NULL);
  free_sized(NULL, 0);
  free_aligned_sized(NULL, 64, 0);
  CHECK(resident_bytes() < 64 * MIB);
  return 0;
}
