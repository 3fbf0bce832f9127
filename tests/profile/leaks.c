/* Leaves a known number of objects allocated at its exit, some of them through functions that are known by name; threads have been and
   gone before. leaks: 100 objects of 40 bytes, 7 of 1000, 3 of 10000 and 1 of 100000; none: nothing. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ON_STACK __attribute__((noinline, noclone))

static void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

static void *kept[100];

ON_STACK static void leave_small(void) {
  for (int i = 0; i < 100; ++i) kept[i] = hide(malloc(40)); /* the program still points to these */
  for (int i = 0; i < 7; ++i) hide(malloc(1000));           /* and to none of these */
}

ON_STACK static void leave_large(void) {
  for (int i = 0; i < 3; ++i) hide(malloc(10000));
  hide(calloc(1, 100000));
}

static void *frees_all(void *mine) {
  for (int i = 0; i < 1000; ++i) free(hide(malloc(40 + (size_t)i)));
  free(mine);
  return NULL;
}

int main(int count, char **arguments) {
  for (int i = 0; i < 4; ++i) {
    pthread_t threads[3];
    for (int t = 0; t < 3; ++t)
      if (pthread_create(&threads[t], NULL, frees_all, malloc(500)) != 0) return 3;
    for (int t = 0; t < 3; ++t) pthread_join(threads[t], NULL);
  }
  if (count > 1 && strcmp(arguments[1], "leaks") == 0) {
    leave_small();
    leave_large();
  }
  if (setenv("LIBC_KEEPS", "this", 1) != 0) return 4;
  puts("done"); /* libc keeps a buffer for it */
  if (count > 2) {
    fflush(stdout);
    if (strcmp(arguments[2], "_exit") == 0) _exit(0);
    if (strcmp(arguments[2], "execve") == 0) execv("/bin/true", (char *[]){"true", NULL});
    if (strcmp(arguments[2], "abort") == 0) abort();
  }
  return 0;
}
