/* Thread stacks of 16 KiB: every path of the heap, also the slow ones, fits beside the caller's frames. */
#include "check.h"

#include <malloc.h>
#include <pthread.h>

static void *use_heap(void *unused) {
  static _Thread_local void *objects[600];
  for (size_t size = 1; size < 4 * MIB; size += size / 2 + 1) {
    int count = size < 2000 ? 600 : 4;
    for (int i = 0; i < count; ++i) CHECK((objects[i] = hide(malloc(size))) != NULL);
    for (int i = 0; i < count; ++i) CHECK((objects[i] = hide(realloc(objects[i], size + size / 3))) != NULL);
    for (int i = 0; i < count; ++i) free(objects[i]);
    free(hide(calloc(3, size)));
    free(hide(aligned_alloc(4096, size)));
  }
  malloc_trim(0);
  return unused;
}

int main(void) {
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  long smallest = sysconf(_SC_THREAD_STACK_MIN);
  CHECK(pthread_attr_setstacksize(&attributes, smallest > 16384 ? (size_t)smallest : 16384) == 0);
  for (int i = 0; i < 50; ++i) {
    pthread_t thread;
    CHECK(pthread_create(&thread, &attributes, use_heap, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  return 0;
}
