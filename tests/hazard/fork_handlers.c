/* Handlers of pthread_atfork that allocate and free, in the program and in a library that starts before the heap's own
   handlers are registered (fork_handlers_early): our locks are taken last and released first. */
#include "child.h"
#include "churn.h"

#include <pthread.h>

static void *kept;

static void prepare(void) {
  churn_steps(1, 300);
  kept = hide(malloc(1000));
}

static void release(void) {
  free(kept);
  kept = NULL;
  churn_steps(2, 300);
}

int main(void) {
  CHECK(pthread_atfork(prepare, release, release) == 0);
  atomic_int stop = 0;
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) CHECK(pthread_create(&threads[i], NULL, churn_until, &stop) == 0);
  for (int i = 0; i < 100; ++i) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(20);
      exit(7);
    }
    check_child(child);
  }
  atomic_store(&stop, 1);
  for (int i = 0; i < 2; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  return 0;
}
