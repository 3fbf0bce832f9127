/* A bit of everything, on a machine with some limit: threads, small and large objects, a child process, and a request
   that cannot be granted (argument: its GiB). */
#include "churn.h"

#include <pthread.h>
#include <sys/wait.h>

int main(int count, char **arguments) {
  CHECK(count == 2);
  enum { kThreads = 4 };
  atomic_int stop = 0;
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, churn_until, &stop) == 0);
  churn_steps(1, 200000);

  char *large = hide(malloc(128 * MIB));
  CHECK(large != NULL);
  for (size_t i = 0; i < 128 * MIB; i += 4096) large[i] = 1;

  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    churn_steps(2, 20000);
    free(large);
    exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);

  errno = 0;
  void *impossible = hide(malloc(strtoul(arguments[1], NULL, 10) << 30));
  CHECK(impossible == NULL);
  CHECK(errno == ENOMEM);
  free(large);
  churn_steps(3, 20000);
  atomic_store(&stop, 1);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  puts("finished");
  return 0;
}
