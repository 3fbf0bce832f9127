/* A program beside the preloaded library "hooks": uses every path of the heap and asks how often it called a wrapper. */
#include "churn.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>

int main(void) {
  atomic_int stop = 0;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, churn_until, &stop) == 0);
  churn_steps(3, 100000);
  malloc_trim(0);
  atomic_store(&stop, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  int (*calls_from_heap)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "hooks_calls_from_heap");
  CHECK(calls_from_heap != NULL);
  CHECK(calls_from_heap() == 0);
  return 0;
}
