// Runs one program and writes what it cost: `measure REPORT PROGRAM ARGUMENT...` leaves
// "status wall_ns user_us system_us peak_rss_kib minor_faults" in the file REPORT, a status above 128 being a signal.
//
// Why not measure from Python: a process inherits, as the lower end of its peak RSS, what its parent had resident when
// it was started, and Python's 20 MiB would hide every small program. This one is linked statically, so that it is
// small and so that the LD_PRELOAD meant for the program passes it by. Children of the program that the program has
// waited for are part of the sums; the peak is that of the largest process.
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long nanoseconds(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static long long microseconds(struct timeval time)
{
  return time.tv_sec * 1000000LL + time.tv_usec;
}

int main(int count, char** arguments)
{
  if (count < 3) {
    fputs("usage: measure REPORT PROGRAM ARGUMENT...\n", stderr);
    return 2;
  }
  const long long start = nanoseconds();
  pid_t child;
  const int error = posix_spawn(&child, arguments[2], NULL, NULL, arguments + 2, environ);
  if (error != 0) {
    fprintf(stderr, "measure: %s: %s\n", arguments[2], strerror(error));
    return 2;
  }
  int status;
  struct rusage usage;
  if (wait4(child, &status, 0, &usage) != child) {
    perror("measure: wait4");
    return 2;
  }
  const long long wall = nanoseconds() - start;

  FILE* report = fopen(arguments[1], "we");
  if (report == NULL) {
    perror(arguments[1]);
    return 2;
  }
  fprintf(report, "%d %lld %lld %lld %ld %ld\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), wall,
          microseconds(usage.ru_utime), microseconds(usage.ru_stime), usage.ru_maxrss, usage.ru_minflt);
  return fclose(report) == 0 ? 0 : 2;
}
