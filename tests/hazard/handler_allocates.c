/* A signal handler that allocates and frees while malloc and free are interrupted anywhere, 10,000 times a second, in
   two threads: no deadlock, and the interrupted objects stay whole. */
#include "churn.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t handled;

static void allocate(int signal_number) {
  (void)signal_number;
  int error = errno;
  const size_t sizes[] = {64, 3000, 100000};
  for (int i = 0; i < 3; ++i) {
    char *object = hide(malloc(sizes[i]));
    CHECK(object != NULL);
    free(object);
  }
  ++handled;
  errno = error;
}

int main(void) {
  struct sigaction action = {.sa_handler = allocate, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval timer = {{0, 100}, {0, 100}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  atomic_int stop = 0;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, churn_until, &stop) == 0);
  for (uint64_t i = 1; handled < 5000; ++i) churn_steps(i, 1000);
  atomic_store(&stop, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  struct itimerval off = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
  return 0;
}
