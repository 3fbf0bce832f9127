/* exit called by a signal handler that interrupts malloc or free anywhere: handlers of atexit allocate, a report is
   written, nothing hangs. 60 children, each interrupted at another moment. */
#include "child.h"
#include "churn.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

static void leave(int signal_number) {
  (void)signal_number;
  exit(7);
}

static void at_exit(void) { churn_steps(9, 500); }

int main(void) {
  for (int i = 0; i < 60; ++i) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      atomic_int stop = 0;
      pthread_t thread;
      CHECK(atexit(at_exit) == 0);
      CHECK(pthread_create(&thread, NULL, churn_until, &stop) == 0);
      CHECK(signal(SIGALRM, leave) != SIG_ERR);
      struct itimerval timer = {{0, 0}, {0, 3000 + i * 137}};
      CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
      for (uint64_t seed = 1;; ++seed) churn_steps(seed, 100);
    }
    check_child(child);
  }
  return 0;
}
