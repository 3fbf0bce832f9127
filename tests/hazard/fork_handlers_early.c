/* A preloaded library whose constructor runs before the heap's: its fork handlers allocate and free, small and large. */
#include "check.h"

#include <pthread.h>

static void allocate(void) {
  void *objects[300];
  for (size_t i = 0; i < 300; ++i) CHECK((objects[i] = hide(malloc(i * 200))) != NULL);
  for (size_t i = 0; i < 300; ++i) free(objects[i]);
}

__attribute__((constructor)) static void start(void) {
  allocate();
  CHECK(pthread_atfork(allocate, allocate, allocate) == 0);
}
