// Which cache lines go from one thread to another: what the compiler calls at each access to memory under -fsanitize=thread, with
// a count in place of the race detector. At each line a thread is told of, it is as with a cache of its own for each thread, of any
// size, kept coherent as MESI does: a write takes the line from whoever else has it, a read shares it with who wrote it last; the
// first access ever is none of these. Accesses are counted one after the other, under one lock; not those of a signal handler that
// interrupts this, nor those at the end. Threads 64 apart are one.
//
// At the end, on standard error: where the image that this is linked into lies, all together, then one row for each cache line, most first:
//   image <address>
//   transfers <reads> <writes>
//   <address> <reads> <writes> [<where> <count>]...    `where`: an offset into the image
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { kLines = 1 << 18, kPlaces = 8, kPrinted = 64, kLinesLookedAt = 256 };

struct place {
  uintptr_t where;
  uint32_t count;
};

struct line {
  uintptr_t number;  // address / 64; 0: none
  uint64_t sharers;  // a bit for each thread that has it
  uint32_t writer;   // the last one; 0: none yet
  uint32_t reads;
  uint32_t writes;
  struct place places[kPlaces];  // where 0: all others
};

static struct line lines[kLines];
static uint64_t lost;  // accesses to lines that had no room
static uint32_t threads;
static _Thread_local uint32_t thread __attribute__((tls_model("initial-exec")));
static uint32_t busy;  // the thread that counts; 0: none
static int is_over;
extern const char __ehdr_start[] __attribute__((visibility("hidden")));

static struct line* line_at(uintptr_t number) {
  const uintptr_t start = (number * UINT64_C(0x9e3779b97f4a7c15)) >> 46;
  for (uintptr_t i = 0; i < kLinesLookedAt; ++i) {
    struct line* const line = &lines[(start + i) % kLines];
    if (line->number == 0) line->number = number;
    if (line->number == number) return line;
  }
  return NULL;
}

static void note(struct line* line, uintptr_t where) {
  int i = 0;
  while (i < kPlaces - 1 && line->places[i].count != 0 && line->places[i].where != where) ++i;
  if (line->places[i].count++ == 0 && i < kPlaces - 1) line->places[i].where = where;
}

// False: this thread counts already, and is interrupted.
static int try_hold(void) {
  if (thread == 0) thread = __atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED);
  for (uint32_t holder = 0; !__atomic_compare_exchange_n(&busy, &holder, thread, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED); holder = 0)
    if (holder == thread) return 0;
  return 1;
}
// Around a fork, so that no other thread is counting meanwhile. Registered before all others: the first to run in parent and child, the last before.
static void hold(void) { (void)try_hold(); }
static void release(void) { __atomic_store_n(&busy, 0, __ATOMIC_RELEASE); }

static void count(const volatile void* address, int writes, void* from) {
  struct line* const line = line_at((uintptr_t)address / 64);
  if (line == NULL) {
    ++lost;
    return;
  }
  const uint64_t me = UINT64_C(1) << thread % 64;
  const int is_mine = writes ? line->sharers == me : (line->sharers & me) != 0;
  const int comes = !is_mine && line->writer != 0 && (line->writer != thread || (writes && (line->sharers & ~me) != 0));
  if (comes) {
    if (writes) ++line->writes;
    else ++line->reads;
    note(line, (uintptr_t)from - (uintptr_t)__ehdr_start);
  }
  line->sharers = writes ? me : line->sharers | me;
  if (writes) line->writer = thread;
}

static void access_to(const volatile void* address, int writes, void* from) {
  if (!try_hold()) return;
  if (!is_over) count(address, writes, from);
  release();
}

static int by_transfers(const void* a, const void* b) {
  const struct line* const one = a;
  const struct line* const other = b;
  const uint64_t first = (uint64_t)one->reads + one->writes;
  const uint64_t second = (uint64_t)other->reads + other->writes;
  return (first < second) - (first > second);
}

__attribute__((destructor)) static void print(void) {
  hold();
  is_over = 1;
  release();
  uint64_t reads = 0;
  uint64_t writes = 0;
  for (int i = 0; i < kLines; ++i) {
    reads += lines[i].reads;
    writes += lines[i].writes;
  }
  qsort(lines, kLines, sizeof lines[0], by_transfers);
  fprintf(stderr, "image %p\n", (const void*)__ehdr_start);
  fprintf(stderr, "transfers %lu %lu\n", (unsigned long)reads, (unsigned long)writes);
  if (lost != 0) fprintf(stderr, "lost %lu\n", (unsigned long)lost);
  for (int i = 0; i < kPrinted && lines[i].reads + lines[i].writes != 0; ++i) {
    fprintf(stderr, "%#lx %u %u", (unsigned long)(lines[i].number * 64), lines[i].reads, lines[i].writes);
    for (int k = 0; k < kPlaces && lines[i].places[k].count != 0; ++k)
      fprintf(stderr, " %#lx %u", (unsigned long)lines[i].places[k].where, lines[i].places[k].count);
    fputc('\n', stderr);
  }
}

#define FROM __builtin_return_address(0)
#define PLAIN(bytes)                                                                            \
  void __tsan_read##bytes(void* address) { access_to(address, 0, FROM); }                       \
  void __tsan_write##bytes(void* address) { access_to(address, 1, FROM); }                      \
  void __tsan_unaligned_read##bytes(void* address) { access_to(address, 0, FROM); }             \
  void __tsan_unaligned_write##bytes(void* address) { access_to(address, 1, FROM); }            \
  void __tsan_volatile_read##bytes(void* address) { access_to(address, 0, FROM); }              \
  void __tsan_volatile_write##bytes(void* address) { access_to(address, 1, FROM); }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

static void access_to_range(const char* first, uintptr_t bytes, int writes, void* from) {
  for (uintptr_t at = (uintptr_t)first / 64 * 64; at < (uintptr_t)first + bytes; at += 64) access_to((const void*)at, writes, from);
}
void __tsan_read_range(void* first, uintptr_t bytes) { access_to_range(first, bytes, 0, FROM); }
void __tsan_write_range(void* first, uintptr_t bytes) { access_to_range(first, bytes, 1, FROM); }

// Called by each file's constructor, which comes before the library's.
void __tsan_init(void) {
  static int is_begun;
  if (!is_begun) pthread_atfork(hold, release, release);
  is_begun = 1;
}
void __tsan_func_entry(void* caller) { (void)caller; }
void __tsan_func_exit(void) {}
void __tsan_vptr_update(void* address, void* value) { (void)address, (void)value; }
void __tsan_vptr_read(void* address) { (void)address; }
void __tsan_atomic_thread_fence(int order) { (void)order, __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int order) { (void)order, __atomic_signal_fence(__ATOMIC_SEQ_CST); }

#define CHANGE(bits, name, change)                                                      \
  uint##bits##_t __tsan_atomic##bits##_##name(uint##bits##_t* at, uint##bits##_t value, int order) { \
    (void)order;                                                                        \
    access_to(at, 1, FROM);                                                             \
    return change(at, value, __ATOMIC_SEQ_CST);                                         \
  }
#define COMPARE(bits, strength)                                                         \
  int __tsan_atomic##bits##_compare_exchange_##strength(uint##bits##_t* at, uint##bits##_t* expected, uint##bits##_t value, int order, \
                                                        int otherwise) {                \
    (void)order, (void)otherwise;                                                       \
    access_to(at, 1, FROM);                                                             \
    return __atomic_compare_exchange_n(at, expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }
#define ATOMIC(bits)                                                                    \
  uint##bits##_t __tsan_atomic##bits##_load(const uint##bits##_t* at, int order) {      \
    (void)order;                                                                        \
    access_to(at, 0, FROM);                                                             \
    return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                       \
  }                                                                                     \
  void __tsan_atomic##bits##_store(uint##bits##_t* at, uint##bits##_t value, int order) { \
    (void)order;                                                                        \
    access_to(at, 1, FROM);                                                             \
    __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                      \
  }                                                                                     \
  COMPARE(bits, strong)                                                                 \
  COMPARE(bits, weak)                                                                   \
  CHANGE(bits, exchange, __atomic_exchange_n)                                           \
  CHANGE(bits, fetch_add, __atomic_fetch_add)                                           \
  CHANGE(bits, fetch_sub, __atomic_fetch_sub)                                           \
  CHANGE(bits, fetch_or, __atomic_fetch_or)                                             \
  CHANGE(bits, fetch_and, __atomic_fetch_and)                                           \
  CHANGE(bits, fetch_xor, __atomic_fetch_xor)
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)
