/* A signal handler that runs between two instructions of one call of the allocator. The call is stepped through with the
   processor's trap flag, and at the trap wanted the handler allocates, looks at what it got, and frees it again, the last one first: in
   another order it may, between two steps of a pool, free the slot that the call is about to return. So it may where its own calls empty
   or fill a pool that the call is at: the pools have more than it takes. Then what the call returns is nobody else's, holds (from
   calloc) zeros and (from realloc) what it held, no object that is alive has changed, and no slot is given out twice.
   So it goes for each of the first and the last instructions and many between, and once for all of them in one call.

   Arguments: who makes the call (here, thread, child), and which. It prints how many instructions that is; ends with 77 where the flag
   does nothing. */
#include "check.h"
#include "child.h"

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

enum { kFirst = 64, kMany = 20000, kNext = 300, kHeld = 40, kSmall = 64, kMiddle = 3000, kLarge = 100000 };

static unsigned char *held[kHeld]; /* objects that are alive all the time, each full of its place in here */
static unsigned char *given;       /* the object that the call frees or resizes */
static unsigned char *beside;      /* alive, too: given out after it, so that its place in the pool is the one that a free fills */

/* Who makes the call: this thread; one that begins with it, and takes over the pools of the one before; one in a child of fork, for
   which no pools are kept. */
enum Where { kHere, kInThread, kInChild };

static volatile unsigned long seen, act_at; /* traps so far, by the one thread that has any; 0: at each */

#define TRAP_FLAG 0x100ul

static size_t size_of_held(size_t i) {
  const size_t sizes[] = {kSmall, kMiddle, kLarge, kSmall + 16};
  return sizes[i % 4];
}

static void check_held(void) {
  for (size_t i = 0; i < kHeld; ++i)
    for (size_t at = 0; at < size_of_held(i); at += 16) CHECK(held[i][at] == i);
}

static int share(const unsigned char *object, size_t size, const unsigned char *other, size_t other_size) {
  return object < other + other_size && other < object + size;
}

static void check_is_nobodys(const unsigned char *object, size_t size) {
  CHECK(object != NULL && !share(object, size, beside, kSmall));
  for (size_t i = 0; i < kHeld; ++i) CHECK(!share(object, size, held[i], size_of_held(i)));
}

static void on_trap(int signal_number, siginfo_t *info, void *context) {
  (void)signal_number;
  (void)info;
  ++seen;
  if (act_at != 0 && seen != act_at) return;
  if (act_at != 0) ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(long long)TRAP_FLAG; /* the rest is of no interest */
  const int error = errno;
  static const size_t sizes[] = {kSmall, kSmall, kMiddle, kLarge};
  unsigned char *objects[4];
  for (int i = 0; i < 4; ++i) {
    objects[i] = hide(malloc(sizes[i]));
    check_is_nobodys(objects[i], sizes[i]);
    for (int k = 0; k < i; ++k) CHECK(!share(objects[i], sizes[i], objects[k], sizes[k]));
    memset(objects[i], 0xee, i == 3 ? 4096 : sizes[i]);
  }
  for (int i = 4; i-- > 0;) free(objects[i]);
  errno = error;
}

static unsigned char *of_malloc(void) { return hide(malloc(kSmall)); }
static unsigned char *of_malloc_large(void) { return hide(malloc(kLarge)); }
static unsigned char *of_calloc(void) { return hide(calloc(1, kSmall)); }
static unsigned char *of_realloc(void) { return hide(realloc(given, 4 * kSmall)); }
static unsigned char *of_free(void) {
  free(given);
  return NULL;
}

enum Result { kNothing, kNew, kZero, kResized };

static const struct Call {
  const char *name;
  unsigned char *(*run)(void);
  size_t given; /* the size of the object that it frees or resizes; 0: none */
  size_t returned;
  enum Result result;
} calls[] = {
    {"malloc", of_malloc, 0, kSmall, kNew},
    {"calloc", of_calloc, 0, kSmall, kZero},
    {"realloc", of_realloc, kSmall, 4 * kSmall, kResized},
    {"free", of_free, kSmall, 0, kNothing},
    {"malloc_large", of_malloc_large, 0, kLarge, kNew},
    {"free_large", of_free, kLarge, 0, kNothing},
};

static const struct Call *call;

static void *begin_with_it(void *unused) {
  const unsigned long flags = __builtin_ia32_readeflags_u64();
  __builtin_ia32_writeeflags_u64(flags | TRAP_FLAG);
  unsigned char *const result = call->run();
  __builtin_ia32_writeeflags_u64(flags);
  if (call->result != kNothing) check_is_nobodys(result, call->returned);
  if (call->result == kZero || call->result == kResized)
    for (size_t i = 0; i < kSmall; ++i) CHECK(result[i] == (call->result == kZero ? 0 : 0xaa));
  if (result != NULL) memset(result, 0xcc, kSmall);
  /* Nor are the next ones, of which a thread that ends leaves the next one as many as it is allowed to. */
  unsigned char *next[kNext];
  for (size_t i = 0; i < kNext; ++i) {
    next[i] = hide(malloc(kSmall));
    check_is_nobodys(next[i], kSmall);
    memset(next[i], (int)(i % 199), kSmall);
    memcpy(next[i], &i, sizeof i);
  }
  for (size_t i = 0; i < kNext; ++i) CHECK(memcmp(next[i], &i, sizeof i) == 0 && next[i][kSmall - 1] == i % 199);
  if (result != NULL) CHECK(result[0] == 0xcc && result[kSmall - 1] == 0xcc);
  check_held();
  for (size_t i = 0; i < kNext; ++i) free(next[i]);
  free(result);
  return unused;
}

static void once(enum Where where) {
  seen = 0;
  given = call->given == 0 ? NULL : hide(malloc(call->given));
  if (given != NULL) memset(given, 0xaa, kSmall);
  beside = hide(malloc(kSmall));
  if (where == kHere) {
    begin_with_it(NULL);
  } else {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, begin_with_it, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  free(beside);
}

/* How many instructions there were until the handler acted, or all. */
static unsigned long step_through(enum Where where, unsigned long at) {
  act_at = at;
  if (where != kInChild) {
    once(where);
    return seen;
  }
  int ends[2];
  CHECK(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    once(where);
    const unsigned long count = seen;
    _exit(write(ends[1], &count, sizeof count) == sizeof count ? 7 : 1);
  }
  check_child(child);
  unsigned long count;
  CHECK(read(ends[0], &count, sizeof count) == sizeof count);
  CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
  return count;
}

int main(int count, char **words) {
  CHECK(count == 3);
  const enum Where where = strcmp(words[1], "here") == 0 ? kHere : strcmp(words[1], "thread") == 0 ? kInThread : kInChild;
  for (size_t i = 0; i < sizeof calls / sizeof *calls; ++i)
    if (strcmp(calls[i].name, words[2]) == 0) call = &calls[i];
  CHECK(call != NULL);
  for (size_t i = 0; i < kHeld; ++i) {
    held[i] = hide(malloc(size_of_held(i)));
    CHECK(held[i] != NULL);
    memset(held[i], (int)i, size_of_held(i));
  }
  struct sigaction action = {.sa_flags = SA_SIGINFO};
  action.sa_sigaction = on_trap;
  CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
  const unsigned long never = (unsigned long)-1;
  step_through(where, never); /* pools that it opens are open from now on */
  const unsigned long all = step_through(where, never);
  if (all == 0) return 77;
  CHECK(all > 10);
  step_through(where, 0);
  const unsigned long last = all > kMany ? 4 : 16;
  const unsigned long stride = 1 + all / (all > kMany ? 8 : 32);
  unsigned long tried = 0;
  unsigned long acted = 0;
  for (unsigned long at = 1; at <= all;) {
    const int has_acted = step_through(where, at) == at;
    CHECK(has_acted || at > kFirst); /* later on, a call may take another way than that by which all were counted */
    ++tried;
    acted += has_acted ? 1 : 0;
    if (at < kFirst || at + last > all) ++at;
    else at = at + stride < all - last + 1 ? at + stride : all - last + 1;
  }
  CHECK(acted * 4 >= tried * 3);
  char line[32];
  const int length = snprintf(line, sizeof line, "%lu\n", all);
  CHECK(write(STDOUT_FILENO, line, (size_t)length) == length);
  return 0;
}
