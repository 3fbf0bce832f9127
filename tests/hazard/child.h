/* A child process that is to end with status 7. */
#ifndef NEBULA_TESTS_HAZARD_CHILD_H
#define NEBULA_TESTS_HAZARD_CHILD_H

#include "check.h"

#include <sys/wait.h>

static inline void check_child(pid_t child) {
  int status;
  CHECK(child > 0);
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

#endif
