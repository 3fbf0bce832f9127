/* Where a program's memory lies, page by page as the kernel says it (move_pages), on a machine with several nodes. One processor a
   node, with the node's number. Prints what it found; whoever runs it judges. Under any malloc.

   places local              a thread on each node allocates and frees objects of its own: the share of pages on its node
   places exchange           each thread frees what another allocated, and keeps objects of its own: the share of its own's
   places migrate            a thread that moves from the first to the last node: the share of what it allocates there then
   places spread             one thread: how many of its pages lie on each node, small and large objects apart
   places policy             spread, started with a policy of interleaving over all nodes
   places fill MIB           one thread on node 1 fills MIB with objects and reads them all again: pages on each node */
#define _GNU_SOURCE
#include <errno.h>
#include <numa.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { kNodesMost = 16, kPage = 4096, kObjects = 6000, kMailbox = 4000 };

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
      exit(1);                                                                       \
    }                                                                                \
  } while (0)

typedef struct {
  long on_node[kNodesMost];
  long all;
} Pages;

typedef struct {
  char *address;
  size_t size;
} Object;

static int node_count(void) { return numa_num_configured_cpus(); }

static void run_on(int node) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(node, &one);
  CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
}

static uint64_t next(uint64_t *state) {
  *state += 0x9e3779b97f4a7c15;  /* SplitMix64: Steele, Lea, Flood 2014 */
  uint64_t z = *state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

static size_t draw_size(uint64_t *state) {
  const uint64_t shape = next(state) % 100;
  if (shape < 80) return 16 + next(state) % 500;
  if (shape < 97) return 512 + next(state) % 8000;
  return 40000 + next(state) % 60000;
}

static Object make(size_t size) {
  Object object = {malloc(size), size};
  CHECK(object.address != NULL);
  memset(object.address, 1, size);
  return object;
}

/* The page of every object's first byte, and every page of large ones. */
static void look_at(const Object *objects, size_t count, Pages *pages) {
  enum { kAtATime = 512 };
  void *places[kAtATime];
  int nodes[kAtATime];
  size_t used = 0;
  for (size_t i = 0; i <= count; ++i) {
    for (size_t offset = 0; i < count && objects[i].address != NULL && offset < objects[i].size; offset += kPage) {
      places[used++] = (void *)((uintptr_t)(objects[i].address + offset) & ~(uintptr_t)(kPage - 1));
      if (used < kAtATime) continue;
      CHECK(numa_move_pages(0, used, places, NULL, nodes, 0) == 0);
      for (size_t n = 0; n < used; ++n, ++pages->all)
        if (nodes[n] >= 0 && nodes[n] < kNodesMost) ++pages->on_node[nodes[n]];
      used = 0;
    }
    if (i < count || used == 0) continue;
    CHECK(numa_move_pages(0, used, places, NULL, nodes, 0) == 0);
    for (size_t n = 0; n < used; ++n, ++pages->all)
      if (nodes[n] >= 0 && nodes[n] < kNodesMost) ++pages->on_node[nodes[n]];
  }
}

static void print(const char *what, const Pages *pages) {
  printf("%s pages %ld nodes", what, pages->all);
  for (int node = 0; node < numa_num_possible_nodes() && node < kNodesMost; ++node) printf(" %ld", pages->on_node[node]);
  printf("\n");
}

static void churn(Object *objects, size_t count, uint64_t *state, int rounds) {
  for (size_t i = 0; i < count; ++i) objects[i] = make(draw_size(state));
  for (long step = 0; step < rounds * (long)count; ++step) {
    Object *object = &objects[next(state) % count];
    free(object->address);
    *object = make(draw_size(state));
  }
}

static pthread_barrier_t barrier;
static Object mailboxes[kNodesMost][kMailbox];

typedef struct {
  int node;
  int exchanges;
  long own;
  long all;
} Work;

static void *work(void *argument) {
  Work *mine = argument;
  run_on(mine->node);
  uint64_t state = (uint64_t)mine->node;
  Object *objects = calloc(kObjects, sizeof *objects);
  CHECK(objects != NULL);
  churn(objects, kObjects, &state, 1);
  for (int round = 0; mine->exchanges && round < 3; ++round) {
    for (size_t i = 0; i < kMailbox; ++i) mailboxes[mine->node][i] = make(draw_size(&state));
    pthread_barrier_wait(&barrier);
    Object *others = mailboxes[(mine->node + 1) % node_count()];
    for (size_t i = 0; i < kMailbox; ++i) {
      free(others[i].address);
      Object *object = &objects[next(&state) % kObjects];
      free(object->address);
      *object = make(draw_size(&state));
    }
    pthread_barrier_wait(&barrier);
  }
  pthread_barrier_wait(&barrier);
  Pages pages = {0};
  look_at(objects, kObjects, &pages);
  mine->own = pages.on_node[mine->node];
  mine->all = pages.all;
  for (size_t i = 0; i < kObjects; ++i) free(objects[i].address);
  free(objects);
  return NULL;
}

static void threads(const char *name, int exchanges) {
  pthread_t thread[kNodesMost];
  Work works[kNodesMost];
  long own = 0, all = 0;
  CHECK(pthread_barrier_init(&barrier, NULL, (unsigned)node_count()) == 0);
  for (int node = 0; node < node_count(); ++node) {
    works[node] = (Work){node, exchanges, 0, 0};
    CHECK(pthread_create(&thread[node], NULL, work, &works[node]) == 0);
  }
  for (int node = 0; node < node_count(); ++node) {
    CHECK(pthread_join(thread[node], NULL) == 0);
    own += works[node].own;
    all += works[node].all;
  }
  printf("%s pages %ld local %ld\n", name, all, own);
}

static void migrate(void) {
  static Object before[kObjects], after[kObjects];
  uint64_t state = 1;
  const int last = node_count() - 1;
  run_on(0);
  churn(before, kObjects, &state, 1);
  run_on(last);
  const struct timespec moment = {0, 50 * 1000 * 1000};
  nanosleep(&moment, NULL);
  /* What its pools hold at that moment is used up first. */
  for (size_t i = 0; i < kObjects; ++i) free(before[i].address);
  churn(after, kObjects, &state, 1);
  Pages pages = {0};
  look_at(after, kObjects, &pages);
  print("migrate", &pages);
}

static void spread(void) {
  static Object small[20000], large[40];
  for (size_t i = 0; i < 20000; ++i) small[i] = make(64 + i % 900);
  for (size_t i = 0; i < 40; ++i) large[i] = make(400000);
  Pages pages = {0};
  look_at(small, 20000, &pages);
  print("small", &pages);
  pages = (Pages){0};
  look_at(large, 40, &pages);
  print("large", &pages);
}

static void fill(size_t mib) {
  run_on(1);
  const size_t count = mib * 8;
  Object *objects = malloc(count * sizeof *objects);
  CHECK(objects != NULL);
  for (size_t i = 0; i < count; ++i) {
    objects[i] = make(i % 2 == 0 ? 100000 : 131072);
    memset(objects[i].address, (int)(i % 251), objects[i].size);
  }
  for (size_t i = 0; i < count; ++i)
    for (size_t at = 0; at < objects[i].size; at += kPage) CHECK(objects[i].address[at] == (char)(i % 251));
  Pages pages = {0};
  look_at(objects, count, &pages);
  print("fill", &pages);
}

int main(int count, char **arguments) {
  CHECK(count >= 2 && numa_available() >= 0);
  const char *what = arguments[1];
  if (strcmp(what, "local") == 0) threads(what, 0);
  else if (strcmp(what, "exchange") == 0) threads(what, 1);
  else if (strcmp(what, "migrate") == 0) migrate();
  else if (strcmp(what, "spread") == 0) spread();
  else if (strcmp(what, "policy") == 0) {
    numa_set_interleave_mask(numa_all_nodes_ptr);
    arguments[1] = "spread";
    execv("/proc/self/exe", arguments);
    return 1;
  } else if (strcmp(what, "fill") == 0 && count > 2) fill(strtoul(arguments[2], NULL, 10));
  else return 2;
  return 0;
}
