/* Allocates known amounts by known ways, through functions whose order on the stack is known, and keeps a known part.
   known MIB: each way allocates so many MiB. Compiled without frame pointers. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t bytes;

static void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

/* Not tail calls: each of these stays on the stack. */
#define ON_STACK __attribute__((noinline, noclone))
#define AFTER(value) __asm__ volatile("" : : "r"(value) : "memory")

ON_STACK void *leaf_small(size_t size) {
  void *object = hide(malloc(size));
  AFTER(object);
  return object;
}

ON_STACK void *middle(size_t size) {
  void *object = leaf_small(size);
  AFTER(object);
  return object;
}

/* One object, over and over: the pattern that a pool serves without ever looking further. */
ON_STACK void pairs_of_48(void) {
  for (size_t done = 0; done < bytes; done += 48) free(middle(48));
}

/* All of it stays. */
ON_STACK void keep_112(void) {
  for (size_t done = 0; done < bytes; done += 112) hide(middle(112));
}

/* Half of it stays. */
ON_STACK void keep_half_of_4096(void) {
  for (size_t done = 0; done < bytes; done += 8192) {
    hide(calloc(1, 4096));
    free(hide(calloc(4, 1024)));
  }
}

/* A large one that grows; its last size stays. */
ON_STACK void grow_large(void) {
  char *object = malloc(65536);
  for (size_t size = 65536; size <= bytes; size *= 2) object = hide(realloc(object, size));
  object[0] = 1;
}

/* Allocated here, freed by another thread. */
enum { kHanded = 4096 };
static void *handed[kHanded];

ON_STACK void *free_handed(void *unused) {
  for (int i = 0; i < kHanded; ++i) free(handed[i]);
  return unused;
}

ON_STACK void hand_over_1024(void) {
  for (size_t done = 0; done < bytes; done += kHanded * 1024) {
    for (int i = 0; i < kHanded; ++i) handed[i] = hide(aligned_alloc(64, 1024));
    pthread_t thread;
    if (pthread_create(&thread, NULL, free_handed, NULL) != 0) exit(3);
    pthread_join(thread, NULL);
  }
}

/* A frame as compilers make it for objects that must be aligned beyond what the stack is. */
ON_STACK void realigned(size_t size, void (*rest)(void *)) {
  char buffer[256] __attribute__((aligned(64)));
  char *grown = __builtin_alloca(size);
  memset(buffer, 1, sizeof buffer);
  memset(grown, 2, size);
  rest(buffer);
  rest(grown);
}

static void keep_256(void *unused) {
  for (size_t done = 0; done < bytes; done += 512) hide(malloc(256));
  AFTER(unused);
}

ON_STACK void recurse(int depth) {
  if (depth == 0) {
    for (size_t done = 0; done < bytes; done += 768) hide(malloc(768));
    return;
  }
  recurse(depth - 1);
  AFTER(depth);
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  bytes = strtoul(arguments[1], NULL, 10) << 20;
  pairs_of_48();
  keep_112();
  keep_half_of_4096();
  grow_large();
  hand_over_1024();
  realigned(100, keep_256);
  recurse(200);
  return 0;
}
