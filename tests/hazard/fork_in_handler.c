/* fork from a signal handler that interrupts malloc and free anywhere, also inside their locks: neither side hangs. */
#include "child.h"
#include "churn.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t forks;

/* Anew after each signal: where a fork takes longer than the time between two, the interrupted code would never go on. */
static void interrupt_soon(void) {
  const struct itimerval timer = {{0, 0}, {0, 2000}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

static void fork_here(int signal_number) {
  (void)signal_number;
  pid_t child = fork();
  if (child == 0) _exit(7);
  check_child(child);
  if (++forks < 300) interrupt_soon();
}

int main(void) {
  atomic_int stop = 0;
  pthread_t thread;
  sigset_t alarms;
  sigemptyset(&alarms);
  sigaddset(&alarms, SIGALRM);
  CHECK(pthread_sigmask(SIG_BLOCK, &alarms, NULL) == 0);
  CHECK(pthread_create(&thread, NULL, churn_until, &stop) == 0);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &alarms, NULL) == 0);

  struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  interrupt_soon();
  for (uint64_t i = 1; forks < 300; ++i) churn_steps(i, 1000);
  atomic_store(&stop, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  return 0;
}
