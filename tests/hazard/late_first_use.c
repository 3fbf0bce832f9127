/* Threads whose first allocation comes in the last of the rounds that thread-specific destructors have, when no destructor
   of ours runs any more: 2,000 of them one after the other leave no heap behind each. How many there were is in the report. */
#include "check.h"

#include <limits.h>
#include <pthread.h>

static pthread_key_t key;
static _Thread_local int round_now;

static void at_exit_of_thread(void *value) {
  if (++round_now < PTHREAD_DESTRUCTOR_ITERATIONS) CHECK(pthread_setspecific(key, value) == 0);
  else free(hide(malloc(100)));
}

static void *only_exit(void *unused) {
  CHECK(pthread_setspecific(key, &key) == 0);
  return unused;
}

int main(void) {
  CHECK(pthread_key_create(&key, at_exit_of_thread) == 0);
  for (int i = 0; i < 2000; ++i) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, only_exit, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  return 0;
}
