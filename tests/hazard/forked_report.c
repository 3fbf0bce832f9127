/* A parent and a child that both end with exit, the child by a name of its own in the output; for the report's tests. */
#include "check.h"

#include <sys/wait.h>

int main(void) {
  free(hide(malloc(1000)));
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    free(hide(malloc(2000)));
    exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  printf("%d %d\n", getpid(), child);
  return 0;
}
