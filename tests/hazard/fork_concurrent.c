/* Several threads fork at the same time, beside others that allocate; children fork once more. */
#include "child.h"
#include "churn.h"

#include <pthread.h>

static void *fork_often(void *unused) {
  for (uint64_t i = 0; i < 60; ++i) {
    churn_steps(i, 50);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(20);
      churn_steps(i, 200);
      pid_t grandchild = fork();
      CHECK(grandchild >= 0);
      if (grandchild == 0) {
        churn_steps(i, 200);
        exit(7);
      }
      check_child(grandchild);
      exit(7);
    }
    check_child(child);
  }
  return unused;
}

int main(void) {
  enum { kForking = 4, kThreads = 4 };
  atomic_int stop = 0;
  pthread_t threads[kThreads], forking[kForking];
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, churn_until, &stop) == 0);
  for (int i = 0; i < kForking; ++i) CHECK(pthread_create(&forking[i], NULL, fork_often, NULL) == 0);
  for (int i = 0; i < kForking; ++i) CHECK(pthread_join(forking[i], NULL) == 0);
  atomic_store(&stop, 1);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  return 0;
}
