/* Monitors: monitor events; monitor pressure, in a control group that is nearly full (hazard control_group_limits); or monitor dies,
 * where NEBULA_BUDGET_ACTION=abort ends the process after it was told. */
#define _GNU_SOURCE
#include <nebula/nebula.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define MIB ((size_t)1 << 20)

struct told {
  int count;
  struct nebula_event last;
  uint64_t bytes;
};
static struct {
  struct told soft, hard, refusal, purge[7];
} told;

/* Everything a program may do in a callback, which no lock may be held for. */
static void note(struct told *what, const struct nebula_event *event) {
  CHECK(event->size == sizeof *event);
  ++what->count;
  what->last = *event;
  what->bytes += event->purged_bytes;
  void *volatile object = malloc(100000);
  free(object);
  nebula_purge();
  struct nebula_statistics statistics = {.size = sizeof statistics};
  CHECK(nebula_statistics_take(&statistics) == 0 && statistics.at_rest == 1);
  errno = EXDEV;
}

static void soft_limit(void *context, const struct nebula_event *event) {
  CHECK(context == &told);
  note(&told.soft, event);
}
static void hard_limit(void *context, const struct nebula_event *event) {
  CHECK(context == &told);
  note(&told.hard, event);
}
static void refusal(void *context, const struct nebula_event *event) {
  CHECK(context == &told);
  note(&told.refusal, event);
}
static void purge(void *context, const struct nebula_event *event) {
  CHECK(context == &told && event->reason < 7);
  note(&told.purge[event->reason], event);
}

static const struct nebula_monitor all = {sizeof all, &told, soft_limit, hard_limit, refusal, purge};

static void limits_are_told(void) {
  static void *volatile objects[64];
  nebula_purge();
  struct nebula_budget budget = {.size = sizeof budget};
  CHECK(nebula_budget_get(&budget) == 0);
  const uint64_t soft = budget.committed_bytes + 4 * MIB, hard = budget.committed_bytes + 8 * MIB + MIB / 4;
  CHECK(nebula_budget_set(hard, soft) == 0);
  CHECK(nebula_monitor_add(&all) == 0);
  errno = EDOM;
  int granted = 0;
  while (granted < 5) objects[granted++] = malloc(MIB);
  CHECK(errno == EDOM);
  CHECK(told.soft.count == 1 && told.hard.count == 0 && told.refusal.count == 0);
  CHECK(told.soft.last.account == NEBULA_ACCOUNT_PROCESS && strcmp(told.soft.last.account_name, "process") == 0);
  CHECK(told.soft.last.limit_bytes == soft && told.soft.last.charged_bytes > soft);
  while (granted < 64 && (objects[granted] = malloc(MIB)) != NULL) ++granted;
  CHECK(errno == ENOMEM && granted < 9);
  CHECK(told.soft.count == 1 && told.hard.count == 1 && told.refusal.count == 1);
  CHECK(told.hard.last.limit_bytes == hard && told.refusal.last.limit_bytes == hard);
  CHECK(told.refusal.last.requested_bytes == MIB && told.refusal.last.account == NEBULA_ACCOUNT_PROCESS);
  CHECK(malloc(MIB) == NULL && told.refusal.count == 2 && told.hard.count == 1);
  while (granted > 0) free(objects[--granted]);
  CHECK(nebula_budget_set(NEBULA_NO_LIMIT, NEBULA_NO_LIMIT) == 0);
}

/* Six free holes of a MiB among others. */
static void make_holes(void *volatile objects[12]) {
  for (int i = 0; i < 12; ++i) objects[i] = malloc(MIB);
  for (int i = 0; i < 12; i += 2) free(objects[i]);
}
static void free_others(void *volatile objects[12]) {
  for (int i = 1; i < 12; i += 2) free(objects[i]);
}

/* On slow paths, where it is looked whether one is due. Ten seconds at most. */
static void wait_for_purge(int reason) {
  for (int i = 0; i < 1000 && told.purge[reason].count == 0; ++i) {
    usleep(10000);
    void *volatile object = malloc(100000);
    free(object);
  }
}

static void purges_are_told_with_their_reason(void) {
  memset(&told, 0, sizeof told);
  void *volatile object = malloc(8 * MIB);
  free(object);
  const size_t bytes = nebula_purge();
  CHECK(bytes >= 8 * MIB);
  CHECK(told.purge[NEBULA_REASON_CALL].count == 1 && told.purge[NEBULA_REASON_CALL].bytes == bytes);
  CHECK(strcmp(told.purge[NEBULA_REASON_CALL].last.reason_name, "call") == 0);

  nebula_purge();
  struct nebula_budget budget = {.size = sizeof budget};
  CHECK(nebula_budget_get(&budget) == 0);
  CHECK(nebula_budget_set(budget.committed_bytes + 14 * MIB, NEBULA_NO_LIMIT) == 0);
  static void *volatile objects[12];
  make_holes(objects);
  void *volatile large = malloc(4 * MIB); /* fits into no hole, and under the limit only without them */
  CHECK(large != NULL);
  CHECK(told.purge[NEBULA_REASON_HARD_LIMIT].count >= 1 && told.purge[NEBULA_REASON_HARD_LIMIT].bytes >= MIB);
  CHECK(strcmp(told.purge[NEBULA_REASON_HARD_LIMIT].last.reason_name, "hard limit") == 0);
  free(large);
  free_others(objects);
  CHECK(nebula_budget_set(NEBULA_NO_LIMIT, NEBULA_NO_LIMIT) == 0);
}

static void idle_memory_goes_and_that_is_told(void) {
  nebula_purge(); /* what is older would go first */
  memset(&told, 0, sizeof told);
  void *volatile object = malloc(32 * MIB);
  memset(object, 1, 32 * MIB);
  free(object);
  wait_for_purge(NEBULA_REASON_IDLE);
  CHECK(told.purge[NEBULA_REASON_IDLE].count == 1 && told.purge[NEBULA_REASON_IDLE].bytes >= MIB); /* the callback purges the rest */
  CHECK(strcmp(told.purge[NEBULA_REASON_IDLE].last.reason_name, "idle") == 0);
}

static void what_the_soft_limit_purges_is_told(void) {
  nebula_purge();
  memset(&told, 0, sizeof told);
  struct nebula_budget budget = {.size = sizeof budget};
  CHECK(nebula_budget_get(&budget) == 0);
  CHECK(nebula_budget_set(NEBULA_NO_LIMIT, budget.committed_bytes + 14 * MIB) == 0);
  static void *volatile objects[12];
  make_holes(objects);
  CHECK(told.soft.count == 0);
  void *volatile large = malloc(4 * MIB); /* fits into no hole */
  CHECK(large != NULL && told.soft.count == 1);
  CHECK(told.purge[NEBULA_REASON_SOFT_LIMIT].count >= 1 && told.purge[NEBULA_REASON_SOFT_LIMIT].bytes >= MIB);
  CHECK(strcmp(told.purge[NEBULA_REASON_SOFT_LIMIT].last.reason_name, "soft limit") == 0);
  free(large);
  free_others(objects);
  CHECK(nebula_budget_set(NEBULA_NO_LIMIT, NEBULA_NO_LIMIT) == 0);
}

static void what_the_systems_refusal_purges_is_told(void) {
  memset(&told, 0, sizeof told);
  static void *volatile objects[12];
  make_holes(objects);
  static void *volatile filling[4096];
  struct rlimit before, none;
  CHECK(getrlimit(RLIMIT_AS, &before) == 0);
  none = before;
  none.rlim_cur = 1; /* nothing more is mapped */
  CHECK(setrlimit(RLIMIT_AS, &none) == 0);
  int filled = 0;
  while (filled < 4096 && (filling[filled] = malloc(2 * MIB)) != NULL) ++filled;
  CHECK(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(filled < 4096 && told.refusal.count == 1 && told.refusal.last.account == NEBULA_ACCOUNT_SYSTEM);
  CHECK(told.purge[NEBULA_REASON_SYSTEM].count >= 1 && told.purge[NEBULA_REASON_SYSTEM].bytes >= MIB);
  CHECK(strcmp(told.purge[NEBULA_REASON_SYSTEM].last.reason_name, "system") == 0);
  while (filled > 0) free(filling[--filled]);
  free_others(objects);
}

static void the_systems_refusals_are_told(void) {
  memset(&told, 0, sizeof told);
  void *volatile object = malloc((size_t)1 << 60);
  CHECK(object == NULL && told.refusal.count == 1);
  CHECK(told.refusal.last.account == NEBULA_ACCOUNT_SYSTEM && strcmp(told.refusal.last.account_name, "system") == 0);
  CHECK(told.refusal.last.requested_bytes == (size_t)1 << 60 && told.refusal.last.limit_bytes == 0);
}

static void tables_come_and_go(void) {
  static struct nebula_monitor others[9];
  memset(&told, 0, sizeof told);
  CHECK(nebula_monitor_add(&all) == EEXIST);
  CHECK(nebula_monitor_remove(&all) == 0 && nebula_monitor_remove(&all) == ENOENT && nebula_monitor_remove(NULL) == ENOENT);
  CHECK(malloc((size_t)1 << 60) == NULL && told.refusal.count == 0);
  for (int i = 0; i < 8; ++i) {
    /* as a program has it that was built when there was no more than a refusal to tell */
    others[i] = (struct nebula_monitor){offsetof(struct nebula_monitor, purge), &told, NULL, NULL, refusal, purge};
    CHECK(nebula_monitor_add(&others[i]) == 0);
  }
  others[8] = others[0];
  CHECK(nebula_monitor_add(&others[8]) == ENOSPC);
  CHECK(malloc((size_t)1 << 60) == NULL && told.refusal.count == 8);
  void *volatile object = malloc(8 * MIB);
  free(object);
  CHECK(nebula_purge() != 0 && told.purge[NEBULA_REASON_CALL].count == 0);
  for (int i = 0; i < 8; ++i) CHECK(nebula_monitor_remove(&others[i]) == 0);
  struct {
    struct nebula_monitor known;
    void (*of_a_newer_header)(void);
  } newer = {.known = {.size = sizeof newer}};
  CHECK(nebula_monitor_add(&newer.known) == 0 && nebula_monitor_remove(&newer.known) == 0);
  newer.of_a_newer_header = the_systems_refusals_are_told;
  CHECK(nebula_monitor_add(&newer.known) == EINVAL);
  newer.known.size = 16;
  CHECK(nebula_monitor_add(&newer.known) == EINVAL && nebula_monitor_add(NULL) == EINVAL);
}

static atomic_int is_inside, may_leave, has_left;

static void slow_refusal(void *context, const struct nebula_event *event) {
  (void)event;
  atomic_store(&is_inside, 1);
  while (!atomic_load(&may_leave)) usleep(1000);
  atomic_store(&has_left, 1);
  CHECK(nebula_monitor_remove(context) == ENOENT); /* by now; and it does not wait for itself */
}
static struct nebula_monitor slow = {sizeof slow, &slow, NULL, NULL, slow_refusal, NULL};

static void *be_refused(void *nothing) {
  CHECK(malloc((size_t)1 << 60) == NULL);
  return nothing;
}
static void *let_go(void *nothing) {
  usleep(50000);
  atomic_store(&may_leave, 1);
  return nothing;
}

static void removing_waits_for_callbacks(void) {
  pthread_t refused, letting;
  CHECK(nebula_monitor_add(&slow) == 0);
  CHECK(pthread_create(&refused, NULL, be_refused, NULL) == 0);
  while (!atomic_load(&is_inside)) usleep(1000);
  const pid_t child = fork();
  if (child == 0) { /* nobody is inside here */
    alarm(10);
    _exit(nebula_monitor_remove(&slow) == 0 && !atomic_load(&has_left) ? 0 : 1);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(pthread_create(&letting, NULL, let_go, NULL) == 0);
  CHECK(nebula_monitor_remove(&slow) == 0);
  CHECK(atomic_load(&has_left));
  CHECK(pthread_join(refused, NULL) == 0 && pthread_join(letting, NULL) == 0);
}

static void last_words(void *context, const struct nebula_event *event) {
  const char *const word = event->account_name;
  CHECK(write(*(int *)context, word, strlen(word)) == (ssize_t)strlen(word));
}

static void the_program_is_told_before_it_dies(void) {
  int ends[2], status = 0;
  char words[32] = "";
  CHECK(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    static struct nebula_monitor monitor = {sizeof monitor, NULL, NULL, NULL, last_words, NULL};
    monitor.context = &ends[1];
    CHECK(nebula_monitor_add(&monitor) == 0);
    CHECK(nebula_budget_set(64 * MIB, NEBULA_NO_LIMIT) == 0);
    void *volatile object = malloc(100 * MIB);
    _exit(object != NULL ? 1 : 2);
  }
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  CHECK(read(ends[0], words, sizeof words - 1) == 7 && strcmp(words, "process") == 0);
}

/* In a control group of 400 MiB, under NEBULA_PRESSURE=cgroup. */
static void what_pressure_purges_is_told(void) {
  CHECK(nebula_monitor_add(&all) == 0);
  void *volatile kept = malloc(340 * MIB);
  memset(kept, 1, 340 * MIB);
  void *volatile object = malloc(40 * MIB);
  memset(object, 1, 40 * MIB);
  free(object);
  wait_for_purge(NEBULA_REASON_PRESSURE);
  CHECK(told.purge[NEBULA_REASON_PRESSURE].count == 1 && told.purge[NEBULA_REASON_PRESSURE].bytes >= 32 * MIB);
  CHECK(strcmp(told.purge[NEBULA_REASON_PRESSURE].last.reason_name, "pressure") == 0);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  if (strcmp(arguments[1], "dies") == 0) {
    the_program_is_told_before_it_dies();
    return 0;
  }
  if (strcmp(arguments[1], "pressure") == 0) {
    what_pressure_purges_is_told();
    return 0;
  }
  CHECK(strcmp(arguments[1], "events") == 0);
  limits_are_told();
  purges_are_told_with_their_reason();
  idle_memory_goes_and_that_is_told();
  what_the_soft_limit_purges_is_told();
  what_the_systems_refusal_purges_is_told();
  the_systems_refusals_are_told();
  tables_come_and_go();
  removing_waits_for_callbacks();
  return 0;
}
