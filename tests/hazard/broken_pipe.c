/* Standard error is a pipe that nobody reads. What the library says there fails, and must neither end the program nor
   leave a SIGPIPE behind. */
#include "check.h"

#include <signal.h>

static volatile sig_atomic_t signals;
static void count_signal(int number) { signals += number == SIGPIPE; }

static void misuse(void) {
  char *object = hide(malloc(1 << 20));
  free(object);
  free(hide(object)); /* said, with NEBULA_ON_MISUSE=warn */
}

int main(void) {
  CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
  misuse();
  CHECK(signal(SIGPIPE, count_signal) != SIG_ERR);
  misuse();
  CHECK(signals == 0);
  /* One that was waiting already stays. */
  sigset_t pipe_signal, pending;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  CHECK(sigprocmask(SIG_BLOCK, &pipe_signal, NULL) == 0);
  misuse();
  CHECK(sigpending(&pending) == 0 && !sigismember(&pending, SIGPIPE));
  CHECK(raise(SIGPIPE) == 0);
  misuse();
  CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE));
  CHECK(sigprocmask(SIG_UNBLOCK, &pipe_signal, NULL) == 0);
  CHECK(signals == 1);
  CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
  return 3;
}
