/* vfork and posix_spawn run no fork handlers and share memory with the parent; system and popen are built on them. All
   of them, beside threads that allocate. Argument: a program that ends with status 7. */
#include "child.h"
#include "churn.h"

#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

int main(int count, char **arguments) {
  if (count == 1) return 7;
  CHECK(count == 2);
  char *const command[] = {arguments[1], NULL};
  char quoted[4200];
  snprintf(quoted, sizeof quoted, "'%s'", arguments[1]);
  atomic_int stop = 0;
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) CHECK(pthread_create(&threads[i], NULL, churn_until, &stop) == 0);
  for (int i = 0; i < 60; ++i) {
    pid_t child = vfork();
    if (child == 0) {
      execve(command[0], command, environ);
      _exit(1);
    }
    check_child(child);
    CHECK(posix_spawn(&child, command[0], NULL, NULL, command, environ) == 0);
    check_child(child);
    int status = system(quoted);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    FILE *pipe = popen(quoted, "r");
    CHECK(pipe != NULL);
    status = pclose(pipe);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }
  atomic_store(&stop, 1);
  for (int i = 0; i < 4; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  return 0;
}
