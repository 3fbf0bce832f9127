/* fork from a signal handler that interrupts malloc and free of large objects, while other threads make the heap grow and
   give memory back. The child returns from the handler into what was interrupted and then needs fresh memory: it must
   not wait for a growth, a purge or a claim of a thread that did not come along. */
#include "check.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { kForks = 120, kThreads = 2 };

static volatile sig_atomic_t forks, is_child, hung, failed;
static atomic_int stop;

static void fork_here(int signal_number) {
  (void)signal_number;
  if (is_child) return;
  pid_t child = fork();
  if (child == 0) {
    is_child = 1;
    signal(SIGALRM, SIG_DFL);
    alarm(5);  /* the default action ends a child that hangs */
    return;
  }
  int status;
  CHECK(child > 0);
  CHECK(waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) ++hung;
  else if (WEXITSTATUS(status) != 7) ++failed;
  ++forks;
}

static void *grow_and_trim(void *unused) {
  for (size_t i = 0; !atomic_load(&stop); ++i) {
    char *object = hide(malloc(20 * MIB));
    CHECK(object != NULL);
    memset(object, 1, 4 * MIB);
    free(object);
    malloc_trim(0);
    free(hide(malloc(90 * MIB + i % 40 * 2 * MIB)));
    object = hide(malloc(100000));
    free(hide(realloc(object, 100000 + i % 50 * 10000)));
  }
  return unused;
}

static void use_large_objects(void) {
  static void *objects[200];
  for (size_t i = 0; i < 200; ++i) objects[i] = hide(malloc(40000 + i * 500));
  for (size_t i = 0; i < 200; ++i) objects[i] = hide(realloc(objects[i], 45000 + i * 600));
  for (size_t i = 0; i < 200; ++i) free(objects[i]);
}

static void use_as_child(void) {
  static char *objects[300];
  for (size_t i = 0; i < 300; ++i) {
    size_t size = i % 3 == 0 ? 3 * MIB : i % 3 == 1 ? 50000 : 1 + i * 7;
    CHECK((objects[i] = hide(malloc(size))) != NULL);
    objects[i][0] = objects[i][size - 1] = 1;
  }
  for (size_t i = 0; i < 300; ++i) free(objects[i]);
  malloc_trim(0);
  pid_t grandchild = fork();
  CHECK(grandchild >= 0);
  if (grandchild == 0) _exit(0);
  int status;
  CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
}

int main(void) {
  pthread_t threads[kThreads];
  sigset_t alarms;
  sigemptyset(&alarms);
  sigaddset(&alarms, SIGALRM);
  CHECK(pthread_sigmask(SIG_BLOCK, &alarms, NULL) == 0);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, grow_and_trim, NULL) == 0);
  CHECK(pthread_sigmask(SIG_UNBLOCK, &alarms, NULL) == 0);

  struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  for (size_t round = 0; forks < kForks; ++round) {
    const struct itimerval timer = {{0, 0}, {0, (suseconds_t)(200 + round * 7919 % 4000)}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    use_large_objects();
    if (is_child) {
      use_as_child();
      _exit(7);
    }
  }
  atomic_store(&stop, 1);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  if (hung != 0 || failed != 0) printf("%d children hung, %d failed\n", (int)hung, (int)failed);
  return hung != 0 || failed != 0;
}
