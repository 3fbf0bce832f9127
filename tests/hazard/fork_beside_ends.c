/* Threads that last for a moment end beside a thread that forks: what an end gives back to the heap it does under no lock that a child would
   find held. Each child allocates in the same sizes, also in a thread of its own. */
#include "check.h"
#include "child.h"

#include <pthread.h>
#include <stdatomic.h>

enum { kForks = 100 };

static atomic_int go_on = 1;

static void *short_life(void *unused) {
  void *objects[100];
  for (size_t i = 0; i < 100; ++i) {
    objects[i] = hide(malloc(16 + i * 40));
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, 16 + i * 40);
  }
  for (size_t i = 0; i < 100; ++i) free(objects[i]);
  return unused;
}

static void *begin_and_end(void *unused) {
  pthread_t thread;
  while (go_on) {
    CHECK(pthread_create(&thread, NULL, short_life, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  return unused;
}

int main(void) {
  pthread_t threads[2], one;
  for (int i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, begin_and_end, NULL) == 0);
  for (int i = 0; i < kForks; ++i) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(60);
      short_life(NULL);
      CHECK(pthread_create(&one, NULL, short_life, NULL) == 0);
      CHECK(pthread_join(one, NULL) == 0);
      _exit(7);
    }
    check_child(child);
  }
  go_on = 0;
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  return 0;
}
