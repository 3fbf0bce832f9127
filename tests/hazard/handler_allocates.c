/* A signal handler that allocates and frees while malloc and free are interrupted anywhere, 10,000 times a second, in
   two threads: no deadlock, and each object is aligned and, from calloc, zero. What other objects hold is not looked at:
   between two steps of a pool a handler may be given the slot that the interrupted call is about to return. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

static volatile sig_atomic_t handled;
static atomic_int stop;

static void allocate(int signal_number) {
  (void)signal_number;
  if (atomic_load(&stop)) return; /* else, where this takes longer than the time between two signals, nobody would see it */
  const int error = errno;
  const size_t sizes[] = {64, 3000, 100000};
  for (int i = 0; i < 3; ++i) {
    void *object = hide(malloc(sizes[i]));
    CHECK(object != NULL);
    free(object);
  }
  for (size_t alignment = 64; alignment <= 1 << 20; alignment *= 16) {
    void *aligned = NULL;
    CHECK(posix_memalign(&aligned, alignment, 100) == 0);
    CHECK((uintptr_t)hide(aligned) % alignment == 0);
    free(aligned);
  }
  /* Large ones: a small one may be the interrupted call's slot too. */
  for (int i = 0; i < 2; ++i) {
    unsigned char *zero = hide(calloc(1, 50000));
    CHECK(zero != NULL);
    for (size_t at = 0; at < 50000; ++at) CHECK(zero[at] == 0);
    memset(zero, 0xff, 50000);
    free(zero);
  }
  ++handled;
  errno = error;
}

/* Bursts that make pools run empty and full, so that the slow paths are interrupted too. */
static void *allocate_until_stop(void *unused) {
  enum { kObjects = 2000 };
  static _Thread_local void *objects[kObjects];
  for (size_t round = 0; !atomic_load(&stop); ++round) {
    for (size_t i = 0; i < kObjects; ++i) objects[i] = hide(malloc(i % 100 == 0 ? 50000 : (i + round) % 2000));
    for (size_t i = 0; i < kObjects; ++i) free(objects[i]);
  }
  return unused;
}

static void *stop_when_handled(void *unused) {
  while (handled < 5000) usleep(1000);
  atomic_store(&stop, 1);
  return unused;
}

int main(void) {
  pthread_t thread, watcher;
  /* Not in the watcher: where a handler takes longer than the time between two signals, a thread that is interrupted with a lock held keeps
     it until they stop, and the watcher must not wait for that lock. */
  sigset_t alarms;
  sigemptyset(&alarms);
  sigaddset(&alarms, SIGALRM);
  CHECK(pthread_sigmask(SIG_BLOCK, &alarms, NULL) == 0);
  CHECK(pthread_create(&watcher, NULL, stop_when_handled, NULL) == 0);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &alarms, NULL) == 0);
  struct sigaction action = {.sa_handler = allocate, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  struct itimerval timer = {{0, 100}, {0, 100}};
  CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
  CHECK(pthread_create(&thread, NULL, allocate_until_stop, NULL) == 0);
  allocate_until_stop(NULL);
  CHECK(pthread_join(thread, NULL) == 0);
  const struct itimerval off = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
  CHECK(pthread_join(watcher, NULL) == 0);
  return 0;
}
