/* A thread that gets no heap of its own, because the address space is used up, works all the same; and when there is room
   again later threads get theirs: as many as before, though it was tried 40,000 times. */
#include "check.h"

#include <pthread.h>
#include <sys/resource.h>

static pthread_barrier_t barrier;

static void *use(void *unused) {
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 40000; ++i) {
    char *object = hide(malloc(48));
    CHECK(object != NULL);
    *object = 1;
    free(object);
  }
  return unused;
}

int main(void) {
  for (int i = 0; i < 1000; ++i) free(hide(malloc(48)));
  void *held[1000];
  for (int i = 0; i < 1000; ++i) held[i] = hide(malloc(48));
  for (int i = 0; i < 1000; ++i) free(held[i]);
  pthread_t thread;
  CHECK(pthread_barrier_init(&barrier, NULL, 2) == 0);
  CHECK(pthread_create(&thread, NULL, use, NULL) == 0);
  pthread_barrier_wait(&barrier);
  struct rlimit before;
  CHECK(getrlimit(RLIMIT_AS, &before) == 0);
  const struct rlimit none = {statm_bytes(0), before.rlim_max};
  CHECK(setrlimit(RLIMIT_AS, &none) == 0);
  pthread_barrier_wait(&barrier);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(setrlimit(RLIMIT_AS, &before) == 0);
  usleep(200000);
  for (int i = 0; i < 3; ++i) {
    CHECK(pthread_create(&thread, NULL, use, NULL) == 0);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  return 0;
}
