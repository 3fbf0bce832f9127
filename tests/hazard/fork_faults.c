/* What a fork costs in page faults: each page written between the fork and its end is copied, by the parent and by the child. Objects of
   forty sizes, so that as many classes are in use. Prints both medians of twenty forks. */
#include "check.h"

#include <sys/resource.h>
#include <sys/wait.h>

enum { kForks = 20 };

static int rising(const void *one, const void *other) { return (*(const long *)one > *(const long *)other) - (*(const long *)one < *(const long *)other); }

static long faults_so_far(void) {
  struct rusage usage;
  CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
  return usage.ru_minflt;
}

int main(void) {
  long parent[kForks], child[kForks];
  for (size_t i = 0; i < 40; ++i) CHECK(hide(malloc(16 + i * 24)) != NULL);
  for (int i = 0; i < kForks; ++i) {
    const long before = faults_so_far();
    const pid_t id = fork();
    if (id == 0) {
      free(hide(malloc(40)));
      _exit(0);
    }
    int status;
    struct rusage usage;
    CHECK(id > 0 && wait4(id, &status, 0, &usage) == id && status == 0);
    child[i] = usage.ru_minflt;
    parent[i] = faults_so_far() - before;
  }
  qsort(parent, kForks, sizeof parent[0], rising);
  qsort(child, kForks, sizeof child[0], rising);
  printf("%ld %ld\n", parent[kForks / 2], child[kForks / 2]);
  return 0;
}
