// Starts a program many times, one after the other, and prints the nanoseconds each took from start to end, one a line:
// `spawn COUNT PROGRAM`. The program inherits the environment, LD_PRELOAD with it; this one is linked statically and
// is not touched by it.
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long nanoseconds(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(int count, char** arguments)
{
  const long times = count == 3 ? atol(arguments[1]) : 0;
  if (times < 1) {
    fputs("usage: spawn COUNT PROGRAM\n", stderr);
    return 2;
  }
  for (long done = 0; done < times; ++done) {
    const long long start = nanoseconds();
    pid_t child;
    const int error = posix_spawn(&child, arguments[2], NULL, NULL, arguments + 2, environ);
    if (error != 0) {
      fprintf(stderr, "spawn: %s: %s\n", arguments[2], strerror(error));
      return 2;
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
      fprintf(stderr, "spawn: %s ended with wait status %d\n", arguments[2], status);
      return 2;
    }
    printf("%lld\n", nanoseconds() - start);
  }
  return 0;
}
