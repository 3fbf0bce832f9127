/* Threads last for a moment, before each fork, and in the child: what they leave in pools for those to come is the child's, too. */
#include "check.h"
#include "child.h"

#include <pthread.h>

enum { kForks = 20, kBefore = 8, kInChild = 30, kAtATime = 4 };

static void *short_life(void *unused) {
  void *objects[100];
  for (size_t i = 0; i < 100; ++i) {
    objects[i] = hide(malloc(16 + i * 37 % 500));
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, 16 + i * 37 % 500);
  }
  for (size_t i = 0; i < 100; ++i) free(objects[i]);
  return unused;
}

static void run_threads(int count) {
  pthread_t threads[kBefore];
  for (int i = 0; i < count; ++i) CHECK(pthread_create(&threads[i], NULL, short_life, NULL) == 0);
  for (int i = 0; i < count; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void) {
  for (int fork_number = 0; fork_number < kForks; ++fork_number) {
    run_threads(kBefore);
    const pid_t child = fork();
    if (child == 0) {
      for (int i = 0; i < kInChild; ++i) run_threads(kAtATime);
      exit(7);
    }
    check_child(child);
  }
  return 0;
}
