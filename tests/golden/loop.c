/* Calls entry points a given number of times and nothing else, for callgrind to count: loop KIND SIZE TIMES. What is
   counted are the calls made by the function whose name starts with "measure". */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static inline void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

__attribute__((noinline)) static void measure_pair(size_t size, long times) {
  for (long i = 0; i < times; ++i) free(hide(malloc(size)));
}

__attribute__((noinline)) static void measure_calloc(size_t size, long times) {
  for (long i = 0; i < times; ++i) free(hide(calloc(1, size)));
}

__attribute__((noinline)) static void measure_aligned(size_t size, long times) {
  for (long i = 0; i < times; ++i) free(hide(aligned_alloc(64, size)));
}

/* In place: both sizes have the same class. */
__attribute__((noinline)) static void measure_realloc(size_t size, long times) {
  void *object = hide(malloc(size));
  for (long i = 0; i < times; ++i) object = hide(realloc(object, size - (size_t)(i % 2)));
  free(object);
}

/* To another class and back; a move copies. */
__attribute__((noinline)) static void measure_move(size_t size, long times) {
  void *object = hide(malloc(size));
  for (long i = 0; i < times; ++i) object = hide(realloc(object, i % 2 == 0 ? 4 * size : size));
  free(object);
}

__attribute__((noinline)) static void measure_usable_size(size_t size, long times) {
  void *object = hide(malloc(size));
  for (long i = 0; i < times; ++i) hide((void *)malloc_usable_size(object));
  free(object);
}

/* Bursts that pools cannot hold: refill and flush, spread over their objects. */
__attribute__((noinline)) static void measure_burst(size_t size, long times) {
  enum { kObjects = 10000 };
  static void *objects[kObjects];
  for (long done = 0; done < times; done += kObjects) {
    for (int i = 0; i < kObjects; ++i) objects[i] = hide(malloc(size));
    for (int i = 0; i < kObjects; ++i) free(objects[i]);
  }
}

int main(int count, char **arguments) {
  static const struct {
    const char *name;
    void (*measure)(size_t size, long times);
  } kinds[] = {{"pair", measure_pair},       {"calloc", measure_calloc},           {"aligned", measure_aligned},
               {"realloc", measure_realloc}, {"move", measure_move},
               {"usable_size", measure_usable_size}, {"burst", measure_burst}};
  if (count != 4) return 2;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
    if (strcmp(kinds[i].name, arguments[1]) != 0) continue;
    kinds[i].measure(strtoul(arguments[2], NULL, 10), strtol(arguments[3], NULL, 10));
    return 0;
  }
  return 2;
}
