/* 10,000 short threads, four at a time or less: thread heaps are reused, so what is resident stays bounded: by so many MiB above what four
   threads need, which is what is resident after a while in which all four meet, however few meet later. */
#include "check.h"

#include <pthread.h>

static pthread_barrier_t all_four;
static int do_meet = 1;

static void *short_life(void *inherited) {
  void *objects[200];
  free(inherited);
  for (size_t i = 0; i < 200; ++i) {
    objects[i] = hide(malloc(i * 20));
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, i * 20);
  }
  if (do_meet) pthread_barrier_wait(&all_four);
  for (size_t i = 1; i < 200; ++i) free(objects[i]);
  return objects[0];
}

int main(int count, char **words) {
  size_t before = 0;
  CHECK(count == 2);
  CHECK(pthread_barrier_init(&all_four, NULL, 4) == 0);
  for (int round = 0; round < 2500; ++round) {
    if (round == 250) {
      before = resident_bytes();
      do_meet = 0;
    }
    pthread_t threads[4];
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, short_life, hide(malloc(100))) == 0);
    for (int i = 0; i < 4; ++i) {
      void *result;
      CHECK(pthread_join(threads[i], &result) == 0);
      free(result);
    }
  }
  CHECK(resident_bytes() <= before + (size_t)atoi(words[1]) * MIB);
  return 0;
}
