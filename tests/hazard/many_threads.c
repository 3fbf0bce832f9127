/* 1,000 threads alive at once, each with a few small objects: what each costs beside its stack stays small. */
#include "check.h"

#include <pthread.h>

enum { kThreads = 1000 };
static pthread_barrier_t all_here, all_go;
static int allocating;

static void *wait_with_objects(void *unused) {
  void *objects[16];
  for (size_t i = 0; i < 16; ++i) {
    objects[i] = allocating ? hide(malloc(16 + i * 16)) : NULL;
    if (allocating) memset(objects[i], 1, 16 + i * 16);
  }
  pthread_barrier_wait(&all_here);
  pthread_barrier_wait(&all_go);
  for (size_t i = 0; i < 16; ++i) free(objects[i]);
  return unused;
}

static size_t resident_with_threads(void) {
  static pthread_t threads[kThreads];
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  CHECK(pthread_attr_setstacksize(&attributes, 64 * 1024) == 0);
  CHECK(pthread_barrier_init(&all_here, NULL, kThreads + 1) == 0);
  CHECK(pthread_barrier_init(&all_go, NULL, kThreads + 1) == 0);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], &attributes, wait_with_objects, NULL) == 0);
  pthread_barrier_wait(&all_here);
  size_t resident = resident_bytes();
  pthread_barrier_wait(&all_go);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  return resident;
}

int main(void) {
  size_t idle = resident_with_threads();
  allocating = 1;
  size_t busy = resident_with_threads();
  printf("%zu bytes a thread\n", busy > idle ? (busy - idle) / kThreads : 0);
  CHECK(busy <= idle + kThreads * (size_t)65536);
  return 0;
}
