/* fork while 8 threads allocate: each of 300 children allocates at once, starts a thread and exits. */
#include "child.h"
#include "churn.h"

#include <pthread.h>

static void *churn_some(void *unused) {
  churn_steps(77, 500);
  return unused;
}

int main(void) {
  enum { kThreads = 8, kChildren = 300 };
  atomic_int stop = 0;
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, churn_until, &stop) == 0);
  for (uint64_t i = 0; i < kChildren; ++i) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(20);
      churn_steps(i, 500);
      pthread_t thread;
      CHECK(pthread_create(&thread, NULL, churn_some, NULL) == 0);
      CHECK(pthread_join(thread, NULL) == 0);
      exit(7);
    }
    check_child(child);
  }
  atomic_store(&stop, 1);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  return 0;
}
