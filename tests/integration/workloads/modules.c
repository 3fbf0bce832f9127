/* As a library (-DLIBRARY): each way to allocate. As a program: loads the libraries that are named, takes all it can have through
   each of them in each way, prints how many bytes that were, and takes as much itself. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 8

#ifdef LIBRARY
void *take(int way, size_t size) {
  void *volatile object = NULL;
  switch (way) {
    case 0: object = malloc(size); break;
    case 1: object = calloc(1, size); break;
    case 2: object = realloc(NULL, size); break;
    case 3: object = aligned_alloc(64, (size + 63) / 64 * 64); break;
    case 4: object = memalign(128, size); break;
    case 5: if (posix_memalign((void **)&object, 64, size) != 0) object = NULL; break;
    case 6: object = realloc(malloc(16), size); break;
    default: object = valloc(size < 4096 ? 4096 : size);
  }
  return object;
}
#else
#include <dlfcn.h>

static void *held[200000];

static size_t take_all(void *(*take)(int, size_t), int way, size_t size, size_t most) {
  size_t count = 0;
  size_t bytes = 0;
  for (; bytes < most && (held[count] = take(way, size)) != NULL; ++count) bytes += malloc_usable_size(held[count]);
  for (size_t i = 0; i < count; ++i) free(held[i]);
  return bytes;
}

static void *take_myself(int way, size_t size) {
  (void)way;
  return malloc(size);
}

int main(int count, char **arguments) {
  const size_t sizes[] = {100, 2000, 20000, 200000};
  for (int library = 1; library < count; ++library) {
    for (int again = 0; again < 2; ++again) {
      void *handle = dlopen(arguments[library], RTLD_NOW);
      void *(*take)(int, size_t) = (void *(*)(int, size_t))dlsym(handle, "take");
      for (int way = 0; way < WAYS; ++way)
        for (int i = 0; i < 4; ++i)
          printf("%s %d %zu %zu\n", strrchr(arguments[library], '/') + 1, way, sizes[i], take_all(take, way, sizes[i], 16 << 20));
      dlclose(handle);
    }
  }
  for (int i = 0; i < 4; ++i) printf("myself 0 %zu %zu\n", sizes[i], take_all(take_myself, 0, sizes[i], 16 << 20));
  return 0;
}
#endif
