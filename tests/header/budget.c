/* The budget by call. budget MODE: plain, or share, where NEBULA_BUDGET=50% has it looked at again when it is met. */
#include <nebula/nebula.h>

#include <errno.h>
#include <string.h>

#include "check.h"

#define MIB ((size_t)1 << 20)

enum { kMost = 64 };
static void *volatile objects[kMost];

static struct nebula_budget get(void) {
  struct nebula_budget budget = {.size = sizeof budget};
  CHECK(nebula_budget_get(&budget) == 0);
  return budget;
}

/* So many objects of 1 MiB are granted before one is refused. */
static int fill(void) {
  int granted = 0;
  while (granted < kMost && (objects[granted] = malloc(MIB)) != NULL) ++granted;
  return granted;
}

static void empty(int granted) {
  for (int i = 0; i < granted; ++i) free(objects[i]);
}

static void a_limit_holds_from_the_call_on(void) {
  nebula_purge();
  const uint64_t start = get().committed_bytes;
  errno = EDOM;
  CHECK(nebula_budget_set(start + 8 * MIB + MIB / 2, start + 4 * MIB) == 0);
  CHECK(errno == EDOM);
  const uint64_t refusals = get().refusals;
  errno = 0;
  const int granted = fill();
  CHECK(errno == ENOMEM);
  CHECK(granted == 8);
  struct nebula_budget budget = get();
  CHECK(budget.limit_bytes == start + 8 * MIB + MIB / 2 && budget.soft_limit_bytes == start + 4 * MIB);
  CHECK(budget.committed_bytes <= budget.limit_bytes && budget.peak_bytes <= budget.limit_bytes);
  CHECK(budget.committed_bytes >= start + 8 * MIB);
  CHECK(budget.refusals == refusals + 1 && budget.largest_refused_bytes == MIB);

  CHECK(nebula_budget_set(start + 2 * MIB, NEBULA_NO_LIMIT) == 0); /* below what is in use: that stays */
  CHECK(malloc(MIB) == NULL);
  memset(objects[granted - 1], 1, MIB);
  empty(granted);
  objects[0] = malloc(MIB);
  CHECK(objects[0] != NULL);
  empty(1);
  CHECK(nebula_budget_set(NEBULA_NO_LIMIT, NEBULA_NO_LIMIT) == 0);
  CHECK(fill() == kMost);
  empty(kMost);
  CHECK(nebula_budget_set(get().committed_bytes - MIB, NEBULA_NO_LIMIT) == 0); /* what is free goes back at once */
  CHECK(get().committed_bytes < start + 8 * MIB);
  CHECK(nebula_budget_set(NEBULA_NO_LIMIT, NEBULA_NO_LIMIT) == 0);
}

static void the_last_part_is_for_small_requests(void) {
  nebula_purge();
  const uint64_t limit = get().committed_bytes + 8 * MIB;
  CHECK(nebula_budget_reserve(MIB / 2) == 0);
  CHECK(get().reserve_bytes == 0);
  CHECK(nebula_budget_set(limit, NEBULA_NO_LIMIT) == 0);
  CHECK(get().reserve_bytes == MIB / 2);
  const int granted = fill();
  CHECK(granted == 7);
  CHECK(nebula_budget_reserve(UINT64_MAX) == 0);
  CHECK(get().reserve_bytes == limit / 8);
  CHECK(nebula_budget_reserve(0) == 0);
  CHECK(get().reserve_bytes == 0);
  objects[granted] = malloc(MIB / 2);
  CHECK(objects[granted] != NULL);
  empty(granted + 1);
  CHECK(nebula_budget_reserve(64 * 1024) == 0);
  CHECK(nebula_budget_set(NEBULA_NO_LIMIT, NEBULA_NO_LIMIT) == 0);
}

static void bad_limits_change_nothing(void) {
  struct nebula_budget bad = {.size = 8};
  CHECK(nebula_budget_get(NULL) == EINVAL && nebula_budget_get(&bad) == EINVAL);
  CHECK(nebula_budget_set(256 * MIB, 128 * MIB) == 0);
  CHECK(nebula_budget_set(0, NEBULA_NO_LIMIT) == EINVAL);
  CHECK(nebula_budget_set(64 * MIB, 0) == EINVAL);
  CHECK(nebula_budget_set(64 * MIB, 65 * MIB) == EINVAL);
  CHECK(get().limit_bytes == 256 * MIB && get().soft_limit_bytes == 128 * MIB);
  bad.size = offsetof(struct nebula_budget, soft_limit_bytes);
  bad.soft_limit_bytes = 42;
  CHECK(nebula_budget_get(&bad) == 0 && bad.limit_bytes == 256 * MIB && bad.soft_limit_bytes == 42);
}

static void the_call_wins(void) {
  const uint64_t of_environment = get().limit_bytes;
  CHECK(of_environment != NEBULA_NO_LIMIT);
  const uint64_t limit = get().committed_bytes + 4 * MIB;
  CHECK(nebula_budget_set(limit, NEBULA_NO_LIMIT) == 0);
  const int granted = fill();
  CHECK(granted < 5 && get().limit_bytes == limit);
  empty(granted);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  if (strcmp(arguments[1], "share") == 0) {
    the_call_wins();
    return 0;
  }
  CHECK(strcmp(arguments[1], "plain") == 0);
  a_limit_holds_from_the_call_on();
  the_last_part_is_for_small_requests();
  bad_limits_change_nothing();
  return 0;
}
