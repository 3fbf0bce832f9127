/* A load for threads that run beside the hazard: random replacement, small and large, each object checked when it goes. */
#ifndef NEBULA_TESTS_HAZARD_CHURN_H
#define NEBULA_TESTS_HAZARD_CHURN_H

#include "check.h"

#include <stdatomic.h>

enum { kChurnObjects = 64 };

struct churn {
  unsigned char *objects[kChurnObjects];
  size_t sizes[kChurnObjects];
  uint64_t random;
};

static inline uint64_t churn_random(struct churn *churn) {
  churn->random ^= churn->random << 13;
  churn->random ^= churn->random >> 7;
  churn->random ^= churn->random << 17;
  return churn->random;
}

static inline void churn_drop(struct churn *churn, size_t i) {
  if (churn->objects[i] == NULL) return;
  CHECK(churn->objects[i][0] == (unsigned char)i);
  CHECK(churn->objects[i][churn->sizes[i] - 1] == (unsigned char)i);
  free(churn->objects[i]);
  churn->objects[i] = NULL;
}

/* Replaces one object; one in 64 is large. */
static inline void churn_step(struct churn *churn) {
  size_t i = churn_random(churn) % kChurnObjects;
  size_t size = churn_random(churn) % 64 == 0 ? 1 + churn_random(churn) % 200000 : 1 + churn_random(churn) % 2000;
  churn_drop(churn, i);
  churn->objects[i] = hide(malloc(size));
  CHECK(churn->objects[i] != NULL);
  churn->sizes[i] = size;
  churn->objects[i][0] = (unsigned char)i;
  churn->objects[i][size - 1] = (unsigned char)i;
}

static inline void churn_steps(uint64_t seed, int steps) {
  struct churn churn = {.random = seed * 0x9e3779b97f4a7c15u | 1};
  for (int step = 0; step < steps; ++step) churn_step(&churn);
  for (size_t i = 0; i < kChurnObjects; ++i) churn_drop(&churn, i);
}

/* A thread's function: churns until *stop. */
static inline void *churn_until(void *stop) {
  static atomic_uint seeds = 1;
  uint64_t seed = atomic_fetch_add(&seeds, 1);
  while (!atomic_load((atomic_int *)stop)) churn_steps(++seed * 7919, 1000);
  return NULL;
}

#endif
