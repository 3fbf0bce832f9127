/* 10,000 short threads, one at a time and four at a time: thread heaps are reused, so what is resident stays bounded. */
#include "check.h"

#include <pthread.h>

static void *short_life(void *inherited) {
  void *objects[200];
  free(inherited);
  for (size_t i = 0; i < 200; ++i) {
    objects[i] = hide(malloc(i * 20));
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, i * 20);
  }
  for (size_t i = 1; i < 200; ++i) free(objects[i]);
  return objects[0];
}

int main(void) {
  size_t before = 0;
  for (int round = 0; round < 2500; ++round) {
    if (round == 250) before = resident_bytes();
    pthread_t threads[4];
    for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, short_life, hide(malloc(100))) == 0);
    for (int i = 0; i < 4; ++i) {
      void *result;
      CHECK(pthread_join(threads[i], &result) == 0);
      free(result);
    }
  }
  CHECK(resident_bytes() <= before + 2 * MIB);
  return 0;
}
