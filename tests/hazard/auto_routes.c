/* A size class that grows slowly moves to blocks, one that turned sparse gets spans, while other threads allocate and free the
 * same sizes and children are forked, each of which frees, resizes and allocates what it inherited. Then the first comes too often, and
 * moves back. The report at the exit says so. */
#include "child.h"
#include "churn.h"

#include <pthread.h>

enum { kGrowing = 8208, kSwinging = 24500, kObjects = 6000, kSwings = 400 };

static char *growing[kObjects];
static char *swinging[kSwings];

static char *make(size_t size) {
  char *object = malloc(size);
  CHECK(object != NULL);
  memset(object, (int)(size % 251), size);
  return object;
}

static void drop(char *object, size_t size) {
  CHECK(object[0] == (char)(size % 251) && object[size - 1] == (char)(size % 251));
  free(object);
}

/* Few of them at a time, so that it is not their rate that decides. */
static void *use_both(void *stop) {
  for (unsigned step = 0; !atomic_load((atomic_int *)stop); ++step) {
    char *one = make(kGrowing);
    if (step % 8 == 0) {
      char *other = make(kSwinging);
      one = realloc(one, kSwinging);
      CHECK(one != NULL && one[kGrowing - 1] == (char)(kGrowing % 251));
      drop(other, kSwinging);
    }
    free(one);
    usleep(20000);
  }
  return NULL;
}

static void be_a_child(int grown) {
  alarm(30);
  for (int i = 0; i < grown; i += 2) drop(growing[i], kGrowing);
  for (int i = 1; i < grown; i += 2) {
    char *moved = realloc(growing[i], i % 4 == 1 ? kSwinging : 100);
    CHECK(moved != NULL && moved[99] == (char)(kGrowing % 251));
    free(moved);
  }
  churn_steps((uint64_t)grown, 300);
  for (int i = 0; i < 100; ++i) drop(make(kGrowing), kGrowing);
  _exit(7);
}

static void fork_one(int grown) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) be_a_child(grown);
  check_child(child);
}

int main(void) {
  enum { kThreads = 3, kBatch = 10 };
  atomic_int stop = 0;
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, use_both, &stop) == 0);
  for (int i = 0; i < kSwings; ++i) swinging[i] = make(kSwinging);
  for (int i = 0; i < kSwings; ++i)
    if (i % 10 != 0) drop(swinging[i], kSwinging);
  int grown = 0;
  while (grown < kObjects / 2) {
    for (int i = 0; i < kBatch; ++i) growing[grown++] = make(kGrowing);
    churn_steps((uint64_t)grown, 50); /* so that slow paths come by */
    if (grown % 200 == 0) fork_one(grown);
    usleep(8000);
  }
  /* Not touched yet: on a busy machine the page faults would make them slow enough. */
  for (int i = grown; i < kObjects; ++i) CHECK((growing[i] = malloc(kGrowing)) != NULL);
  for (; grown < kObjects; ++grown) memset(growing[grown], (int)(kGrowing % 251), kGrowing);
  fork_one(grown);
  atomic_store(&stop, 1);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  for (int i = 0; i < grown; ++i) drop(growing[i], kGrowing);
  for (int i = 0; i < kSwings; i += 10) drop(swinging[i], kSwinging);
  return 0;
}
