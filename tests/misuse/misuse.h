/* What the misuse programs share: pointers that the compiler knows nothing about, and enough frees to flush a pool. */
#ifndef NEBULA_TESTS_MISUSE_H
#define NEBULA_TESTS_MISUSE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

enum { kCrowd = 100000 };
static void *crowd[kCrowd];

/* Allocates a crowd of objects, to be freed later: far more than any pool or depot holds. */
static inline void gather_crowd(size_t size) {
  for (int i = 0; i < kCrowd; ++i) {
    crowd[i] = hide(malloc(size));
    memset(crowd[i], 0x5a, size);
  }
}

/* Fills pools until they flush, whatever was put into them before. */
static inline void free_crowd(void) {
  for (int i = 0; i < kCrowd; ++i) free(crowd[i]);
}

/* The last statement of every program here: shows that it got this far. */
static inline int finished(void) {
  puts("finished");
  return 0;
}

#endif
