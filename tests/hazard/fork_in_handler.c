/* fork from a signal handler that interrupts malloc and free anywhere, also inside their locks: neither side hangs. */
#include "churn.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t forks;

static void fork_here(int signal_number) {
  (void)signal_number;
  pid_t child = fork();
  if (child == 0) _exit(7);
  int status;
  CHECK(child > 0);
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  ++forks;
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
  struct itimerval timer = {{0, 2000}, {0, 2000}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  for (uint64_t i = 1; forks < 300; ++i) churn_steps(i, 1000);
  struct itimerval off = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
  atomic_store(&stop, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  return 0;
}
