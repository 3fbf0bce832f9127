/* Statistics by call: statistics MODE. exact: what they say of known work, in structs of any version; blocked: they are
   answered while another thread is stuck writing a report. */
#define _GNU_SOURCE
#include <nebula/nebula.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

enum { kObjects = 100, kBytes = 496 };

static struct nebula_statistics take(void) {
  struct nebula_statistics statistics = {.size = sizeof statistics};
  errno = EDOM;
  CHECK(nebula_statistics_take(&statistics) == 0);
  CHECK(errno == EDOM);
  CHECK(statistics.size == sizeof statistics);
  return statistics;
}

static void numbers_are_exact(void) {
  static void *volatile objects[kObjects];
  const struct nebula_statistics before = take();
  for (int i = 0; i < kObjects; ++i) objects[i] = malloc(kBytes);
  void *volatile large = malloc(1 << 20);
  const struct nebula_statistics middle = take();
  for (int i = 0; i < kObjects; ++i) free(objects[i]);
  free(large);
  const struct nebula_statistics after = take();

  CHECK(middle.at_rest == 1);
  CHECK(middle.live_bytes + middle.pooled_bytes + middle.depot_bytes + middle.slab_free_bytes + middle.dirty_bytes +
            middle.metadata_bytes == middle.committed_bytes);
  CHECK(middle.committed_bytes <= middle.committed_peak_bytes && middle.committed_bytes <= middle.mapped_bytes);
  CHECK(middle.allocations - middle.frees == middle.live_objects);

  struct nebula_statistics_difference changed = {.size = sizeof changed};
  CHECK(nebula_statistics_diff(&before, &middle, &changed) == 0);
  CHECK(changed.at_rest == 1);
  CHECK(changed.allocations == kObjects + 1 && changed.frees == 0 && changed.live_objects == kObjects + 1);
  CHECK(changed.live_bytes == kObjects * 496 + (1 << 20));
  CHECK(changed.large_objects == 1 && changed.large_bytes == 1 << 20);
  CHECK(nebula_statistics_diff(&middle, &after, &changed) == 0);
  CHECK(changed.allocations == 0 && changed.frees == kObjects + 1 && changed.live_objects == -(kObjects + 1));
  CHECK(changed.live_bytes == -(kObjects * 496 + (1 << 20)));
  CHECK(changed.double_frees == 0 && changed.foreign_pointers == 0);
}

/* What a program that was built with an older or a newer header has. */
static void every_size_is_served(void) {
  struct {
    struct nebula_statistics statistics;
    uint64_t of_a_newer_header[4];
  } longer;
  memset(&longer, 0xff, sizeof longer);
  longer.statistics.size = sizeof longer;
  CHECK(nebula_statistics_take(&longer.statistics) == 0);
  CHECK(longer.statistics.size == sizeof longer && longer.statistics.allocations != 0);
  for (int i = 0; i < 4; ++i) CHECK(longer.of_a_newer_header[i] == 0);

  struct nebula_statistics shorter;
  memset(&shorter, 0xff, sizeof shorter);
  shorter.size = offsetof(struct nebula_statistics, live_bytes);
  CHECK(nebula_statistics_take(&shorter) == 0);
  CHECK(shorter.live_objects != UINT64_MAX && shorter.live_bytes == UINT64_MAX);

  struct nebula_statistics_difference changed;
  memset(&changed, 0xff, sizeof changed);
  changed.size = sizeof changed;
  CHECK(nebula_statistics_diff(&shorter, &longer.statistics, &changed) == 0);
  CHECK(changed.live_objects == (int64_t)(longer.statistics.live_objects - shorter.live_objects));
  CHECK(changed.live_bytes == 0 && changed.foreign_pointers == 0);
  changed.size = offsetof(struct nebula_statistics_difference, frees);
  changed.frees = 42;
  CHECK(nebula_statistics_diff(&longer.statistics, &longer.statistics, &changed) == 0);
  CHECK(changed.allocations == 0 && changed.frees == 42);
}

static void what_has_no_size_is_refused(void) {
  struct nebula_statistics good = take(), bad = {.size = 0};
  struct nebula_statistics_difference changed = {.size = sizeof changed, .frees = 42};
  CHECK(nebula_statistics_take(NULL) == EINVAL);
  CHECK(nebula_statistics_take(&bad) == EINVAL);
  bad.size = 15;
  CHECK(nebula_statistics_take(&bad) == EINVAL && bad.at_rest == 0);
  CHECK(nebula_statistics_diff(NULL, &good, &changed) == EINVAL);
  CHECK(nebula_statistics_diff(&good, NULL, &changed) == EINVAL);
  CHECK(nebula_statistics_diff(&good, &good, NULL) == EINVAL);
  CHECK(nebula_statistics_diff(&bad, &good, &changed) == EINVAL);
  CHECK(nebula_statistics_diff(&good, &bad, &changed) == EINVAL);
  CHECK(changed.frees == 42);
  changed.size = 8;
  CHECK(nebula_statistics_diff(&good, &good, &changed) == EINVAL);
}

static atomic_int writer;

static void *write_report(void *nothing) {
  atomic_store(&writer, gettid());
  malloc_stats();
  return nothing;
}

/* True when the thread waits in write(2, …). */
static int is_stuck(int thread) {
  char path[64], words[32] = "";
  snprintf(path, sizeof path, "/proc/self/task/%d/syscall", thread);
  const int file = open(path, O_RDONLY);
  if (file < 0) return 0;
  const ssize_t length = read(file, words, sizeof words - 1);
  close(file);
  return length > 0 && strncmp(words, "1 0x2 ", 6) == 0;
}

static void nobody_waits_for_a_report(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, write_report, NULL) == 0);
  while (atomic_load(&writer) == 0 || !is_stuck(atomic_load(&writer))) usleep(1000);
  CHECK(take().live_objects != 0);
  CHECK(mallinfo2().arena != 0);
  CHECK(is_stuck(atomic_load(&writer)));
  char words[4096];
  const int pipe_end = atoi(getenv("PIPE_END"));
  CHECK(fcntl(pipe_end, F_SETFL, O_NONBLOCK) == 0);
  while (pthread_tryjoin_np(thread, NULL) != 0)
    if (read(pipe_end, words, sizeof words) < 0) usleep(1000);
}

/* Standard error becomes a pipe that is full. */
static void run_with_full_pipe(char **arguments) {
  int ends[2];
  char number[16];
  CHECK(pipe(ends) == 0);
  CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
  while (write(ends[1], "x", 1) == 1) {
  }
  CHECK(fcntl(ends[1], F_SETFL, 0) == 0);
  snprintf(number, sizeof number, "%d", ends[0]);
  CHECK(setenv("PIPE_END", number, 1) == 0);
  CHECK(dup2(ends[1], 2) == 2);
  execv("/proc/self/exe", arguments);
  exit(2);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  if (strcmp(arguments[1], "exact") == 0) {
    numbers_are_exact();
    every_size_is_served();
    what_has_no_size_is_refused();
    return 0;
  }
  CHECK(strcmp(arguments[1], "blocked") == 0);
  if (getenv("PIPE_END") == NULL) run_with_full_pipe(arguments);
  nobody_waits_for_a_report();
  return 0;
}
