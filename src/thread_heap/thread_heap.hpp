// A thread's pools: the fast paths of malloc and free, and what stands behind them.
//
// A pool is an array of pointers to free slots of one class. `word[c]` holds in its low 16 bits the index of the pool's
// top slot, and in the other 48 the number of allocations of the class: popping adds 65,535, which moves the top down
// by one and counts one, in one instruction and one store. Under each pool lies a null, so an empty pool answers null.
//
//   slots()  │ 0 │ 0 a a a … │ 0 b b b … │ …          │ 0 a a a a a a … │ 0 b b b … │ …     │ 0 a a a a a a a a a … │ …
//              ▲   packed: every class, its first size     room: where a pool moves when       pieces: where it moves when its
//              └ index 0: null for ever, the pool          it outgrows that                    class is allocated and freed in
//                of what has no class                                                          turn, beyond what it holds
//
// A pool doubles when it is met empty or full, up to 32 KiB worth of slots, or 8. Beyond, it grows only on a swing: emptied and
// filled in turn, when every further slot saves a trip to the slabs and back. A thread that only allocates or only frees gains
// nothing by it. A swing may go up to 192 KiB, or 16 slots; of those smaller than a cache line up to 256 KiB, but no more than 8,192.
// All threads together may add max(16 MiB, 1/8 of what is in use), one thread 2 MiB.
//
// Where pools swing, any of them finds as much room as it may have, but not all of them at once. The room is in pieces of 64 slots: a
// pool has as many neighbours as it needs, grows into those behind them or moves, and leaves them when it swings no more.
//
// Where memory is kept apart in several node heaps, a thread takes from one, that of the node it runs on, and looks on its
// slow paths whether it still runs there. The view of that heap gives the slots of other heaps a number of their own (class
// + kAway), so free puts them, by the same instructions, into a return pool: as many as make a batch for a depot (of large slots two), then home.
//
// A pool opens with the first allocation of its class. What a thread frees before lies on cache lines of the threads that
// allocate such objects, and goes home: kept, it would be this thread's next object, and the line be shared for ever (passive
// false sharing; Berger et al., "Hoard", 2000). A thread that frees more than a few is one that takes over what others
// allocate, and its pool opens too.
//
// While a profile is taken, somebody has to count every allocation up to the next sample, and no fast path has an instruction for it.
// So the pools go by the classes' other numbers then: the thread's view says of every slab that it is another heap's, frees push there,
// and `word[c]` stays on a null, so each malloc comes to what stands behind the fast path. There, first of all, it is one comparison
// more: `word[kAway + c]` against `stop[c]`, the word at which the next allocation is a sample. Where modules have limits the pools
// go by those numbers too, and each allocation takes the slow path, where it is looked at.
//
// Only the owner moves a word. Its slow paths run under the heap's gate; fork and the report take the gate to find the
// counts at rest. `capacity[c]`, 0 until the pool is open, is the one field written from outside without it: a reclaim sets it to 0, and the
// owner's next free of that class takes the slow path and flushes.
//
// A thread without a heap (not yet, or no more) points at a constant one: pools empty, capacities 0, so every call
// takes the slow path, and the fast path needs no test for it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/count.hpp"
#include "base/fast_load.hpp"
#include "bump/bump.hpp"
#include "node_heap/node_heap.hpp"
#include "node_heap/tenants.hpp"
#include "size_class/size_class.hpp"
#include "sync/lock.hpp"

namespace nebula {

inline constexpr unsigned kPlacesOfThread = kAway + kUnitUses;
inline constexpr unsigned kPieceSlots = 64;
inline constexpr unsigned kPieces = 48 * 1024 / kPieceSlots;  // of each thread heap, for pools that swing

struct alignas(kCacheLine) ThreadHeap {
  // Before the words, which are 24 bytes into a line then: at its begin, threadtest takes 1.04 of the time (Zen 5).
  Count refills;
  Count flushes;
  std::uint32_t slow_calls;
  std::uint32_t index;             // in the registry

  std::atomic<std::uint64_t> word[kPlacesOfThread];
  std::atomic<std::uint16_t> capacity[kPlacesOfThread];  // a free goes in while the top's index is below

  Readable<std::uint16_t> bottom[kUnitUses];  // the index of the null under the pool
  std::uint16_t limit[kUnitUses];   // what capacity is when nobody reclaims
  std::uint32_t word_seen[kUnitUses];  // the low half of each pool's word at the last look for pools that are idle
  Count refilled[kUnitUses];
  Count flushed[kUnitUses];
  std::uint64_t active[(kUnitUses + 63) / 64];  // classes refilled or flushed since the last tick
  std::uint64_t flushed_last[(kUnitUses + 63) / 64];  // classes whose last such event was a flush
  std::uint64_t opened[(kUnitUses + 63) / 64];  // classes refilled or flushed since their pool was last emptied for lying idle
  std::uint64_t idle[(kUnitUses + 63) / 64];  // classes whose pools held something then and had not been touched since the look before
  std::uint8_t sent_home[kUnitUses];             // slots freed before the pool was open: kSentHomeMost, it is
  std::uint64_t ticked_at;                       // coarse milliseconds
  std::uint32_t reclaim_epoch;     // the last one that was answered
  std::uint32_t swing_bytes;       // of slots that pools may hold because they swing
  Readable<std::uint32_t> kept_bytes;  // of the slots in its pools and their room, while no thread has it and they are kept for the next one
  std::uint64_t committed_pages[2];  // a bit for each page of this heap
  std::uint64_t pieces[kPieces / 64];  // a bit for each that a pool has
  Count returns_open[(kUnitUses + 63) / 64];  // classes whose return pool is in use
  Readable<std::uint16_t> set_aside[kUnitUses];  // how many slots it holds in a heap that is watched, where its word is the pool's
  std::uint64_t kept_at;           // coarse milliseconds, likewise
  std::uint64_t settled_at;        // coarse milliseconds of the last move to another node heap
  HeapId home;                     // the node heap it takes from
  std::uint16_t account;           // its thread's own, by budget/thread_limits; 0: none
  std::uint8_t rule;               // that it has the account by
  std::uint32_t names_seen;        // of the names that threads were given, when its own was last looked at
  std::uint64_t named_at;          // coarse milliseconds, likewise
  bool has_return_room;            // that part is mapped
  std::uint8_t exit_rounds;        // of the thread-specific destructor
  bool has_pieces;                 // that part is mapped
  Readable<bool> is_watched;       // by a profile, or for the limits of modules: its pools go by the classes' other numbers
  std::uint8_t kept_times;         // since its pools were last empty at a thread's end
  bool is_counted;                 // by a profile alone, and there is one node heap: then try_pop serves it
  bump::Mine bump;                 // where a class takes that route
  std::atomic<int> thread_id;      // the kernel's, of the thread that has it
  std::atomic<bool> in_use;        // a thread has it, or had it before a fork that the thread did not survive
  Lock gate{LockRank::kGate};
  std::uint64_t random_state;      // that samples are drawn with; 0: none is drawn
  std::uint64_t next_sample[kUnitUses];  // by class: the word of its pool when the next allocation is a sample
  std::uint64_t stop[kUnitUses];   // the same in a heap that is counted, else 0

  [[nodiscard]] void** slots() { return reinterpret_cast<void**>(this + 1); }
};
static_assert(offsetof(ThreadHeap, word) == 24);

// What malloc and free begin with. Initial-exec, so one load from the thread pointer. What a free needs to know of an address lies beside the
// pointer to the heap and not in the heap: a load less that the next one waits for.
struct alignas(32) Current {
  ThreadHeap* heap;  // this thread's; never null
  // As of its last slow path; nothing is mapped before the first, and after the thread's end.
  Address base;
  std::uint64_t mapped_units;
  const std::atomic<std::uint8_t>* view;  // the class map, or the view of this thread's node heap
};
extern constinit thread_local Current current;

// What a thread has before its first slow path, and after its end.
extern ThreadHeap* const no_heap_yet;
extern ThreadHeap* const no_heap_any_more;

// The smallest size that is not for the fast path, and the fast path itself: a free slot of the size's class, or null.
inline constexpr unsigned kCountOne = 16;  // the allocations of a word start at this bit
inline constexpr std::uint32_t kPop = (std::uint32_t{1} << kCountOne) - 1;

// Behind an empty pool stands, of a heap that is counted, the one that the class has then, up to the next sample.
[[gnu::always_inline]] inline void* try_pop(ThreadHeap* heap, std::size_t c) {
  void* slot = heap->slots()[fast_load_low(heap->word[c])];
  if (slot == nullptr) [[unlikely]] {
    ThreadHeap* const here = same(heap);
    const std::uint64_t word = fast_load(here->word[same_index(c) + kAway]);
    if (word >= here->stop[same_index(c)]) [[unlikely]] return nullptr;
    slot = here->slots()[word & 0xffff];
    if (slot != nullptr) [[likely]] fast_add<kPop>(here->word[same_index(c) + kAway]);
    return slot;
  }
  // The store is a release: a snapshot of memory (fork) that has the new word has the slot below it.
  fast_add_at<kPop, offsetof(ThreadHeap, word)>(heap, c);
  return slot;
}

// False when the slow path has to look at it: no unit of a class, pool full, or the very pointer freed last.
[[gnu::always_inline]] inline bool try_push(void* pointer) {
  ThreadHeap* const heap = current.heap;
  const std::uint64_t unit = (reinterpret_cast<Address>(pointer) - current.base) >> kUnitShift;
  if (unit >= current.mapped_units) [[unlikely]] return false;
  std::atomic_signal_fence(std::memory_order_acquire);  // as in refresh: the view is looked at after the bound, or a handler may set it between
  const std::size_t c = fast_load(current.view[unit]);
  const std::uint16_t top = fast_load_low(heap->word[c]);
  if (top >= fast_load(heap->capacity[c])) [[unlikely]] return false;
  if (heap->slots()[top] == pointer) [[unlikely]] return false;
  heap->slots()[same_index(top) + 1] = pointer;
  // The store is a release: a snapshot of memory (fork) that has the new word has the slot.
  fast_add_at<1, offsetof(ThreadHeap, word)>(heap, c);
  return true;
}

namespace thread_heap {

// All of these run inside SlowPath and hold no lock when called.

// Gives this thread a heap if it has none and may have one. Returns what it has then; possibly none still.
ThreadHeap* ensure();
[[nodiscard]] bool is_none(const ThreadHeap* heap);
// Which part of a heap's spans this thread takes large objects from.
[[nodiscard]] unsigned part_here();
// What was mapped since; at the end of every slow path.
inline void refresh() {
  std::atomic_signal_fence(std::memory_order_release);  // a handler that frees here has the view of all that it takes for mapped
  current.mapped_units = heap_map.mapped_units.load(std::memory_order_relaxed);
}
// Whether the slot of class c that this thread freed last, into a pool, was this one.
[[nodiscard]] bool was_freed_last(ThreadHeap& heap, SizeClass c, const void* pointer);

// The same for a heap that a profile watches where there are several node heaps: null, too, where the slot is of another than this
// thread takes from, and where modules have limits.
[[nodiscard]] void* try_pop_own(ThreadHeap& heap, SizeClass c);
// Whether the next allocation of the class is a sample: then it comes from no pool, and the next one is drawn.
[[nodiscard]] bool sample_is_due(const ThreadHeap& heap, SizeClass c);
void draw_next_sample(ThreadHeap& heap, SizeClass c);
// A profile has begun, or limits of modules hold: this thread is watched from now on, others from their next slow path on.
void begin_watch();

// Refills a pool and pops; null when system and budget have no more.
[[nodiscard]] void* refill_and_pop(ThreadHeap& heap, SizeClass c);
// Makes room and pushes. The pointer is in a unit of class c.
void make_room_and_push(ThreadHeap& heap, SizeClass c, void* pointer, const char* call);
// What this thread holds while something is in two places at once: its heap's gate, or the one that all threads without a
// heap share.
[[nodiscard]] Lock& my_gate();
// One slot, through no pool.
[[nodiscard]] void* allocate_direct(SizeClass c);
// The same from a tenant's heap, for a thread that has a heap: counted with its own.
[[nodiscard]] void* allocate_from(ThreadHeap& heap, HeapId from, SizeClass c);
// Whether what this thread, its owner, allocates may be charged to an account of a thread or a module: then blocks, which have no
// tenants, are not for it.
[[nodiscard]] bool is_tenant(ThreadHeap& heap);
// The account that what this thread allocates is charged to; 0: none. Holds no lock.
[[nodiscard]] thread_limits::Id account_here();
void free_direct(SizeClass c, void* pointer, const char* call);

// All pools to the slabs.
void flush_all(ThreadHeap& heap);
// What lies in pools is to be the next thread's: of each what is beyond so many bytes goes, and empty ones close. Returns the bytes that stay,
// with the room that grown pools have; 0: nothing stays.
[[nodiscard]] std::uint64_t trim_for_next(ThreadHeap& heap, std::uint32_t most_bytes);
// Of a heap that no thread has, whose pools are empty: they are as new. kGoes: the room that grown ones had is given back.
enum class Room : std::uint8_t { kStays, kGoes };
void pack(ThreadHeap& heap, Room room);
// What threads that are gone left in pools for those that come, so long ago: about a MiB in one call.
void flush_kept_pools(std::uint64_t idle_milliseconds);
// All of it, and what was inherited through a fork: nobody else will.
void flush_gone();
// Every so many slow calls: pools that nobody used shrink.
void tick(ThreadHeap& heap);

// The heap goes to whoever comes next; this thread has none any more.
void release_current();

// Reclaim: makes every other thread flush a pool at its next free into it; flushes the pools of threads that are gone.
void ask_others_to_flush();
// After a fork: the heaps of the threads that stayed behind are free, with what lies in their pools.
void adopt_after_fork();
// In the child, however it was forked: its one thread has another number.
void note_fork();

// Fork and report: the registry and all gates, in rank order.
void lock_all();
[[nodiscard]] bool try_lock_all_for(unsigned milliseconds);
void unlock_all();
void reset_in_child();

struct PoolFacts {
  std::uint64_t allocations = 0;
  std::uint64_t frees = 0;  // misuse included
  std::uint64_t pooled = 0;
};
// One heap, over all classes: what it did for its owner and for those before.
struct HeapFacts {
  std::uint32_t index = 0;
  int thread_id = 0;  // of its owner, or its last
  bool in_use = false;
  std::uint64_t allocations = 0;
  std::uint64_t frees = 0;  // misuse included
  std::uint64_t pooled_bytes = 0;
  std::uint64_t refills = 0;
  std::uint64_t flushes = 0;
};
// Reads each pool once, in the order of the heaps: each heap's pools, then the heap, whose facts are the sums of these.
struct Reader {
  void* target;
  void (*on_pool)(void* target, SizeClass c, const PoolFacts& pool);
  void (*on_heap)(void* target, const HeapFacts& heap);
};
void read(const Reader& reader);
// Of all pools but those whose thread is in a slow path; takes each gate that is free for a moment.
[[nodiscard]] std::uint64_t pooled_bytes_about();

struct Facts {
  std::uint64_t threads_started = 0;  // that ever had a heap
  std::uint64_t threads_now = 0;
  std::uint64_t heaps = 0;
  std::uint64_t refills = 0;
  std::uint64_t flushes = 0;
};
// What all threads took from bump blocks.
struct BumpFacts {
  std::uint64_t allocations = 0;
  std::uint64_t bytes = 0;
  std::uint64_t rewinds = 0;
  std::uint64_t reuses = 0;
};
[[nodiscard]] BumpFacts bump_facts();
[[nodiscard]] PoolFacts pool_facts(SizeClass c);  // over all heaps

// What the threads that had a heap one after the other allocated, less what they freed: small objects, at the size of their
// slots.
struct Holder {
  int thread_id = 0;  // of the last of them
  std::uint64_t bytes = 0;
};
// Writes those that hold most, the first most of all, and returns how many. With the gates locked, or roughly.
unsigned largest_holders(std::span<Holder> result);
[[nodiscard]] Facts facts();

// Writes the facts of heaps in use, from index `from` on, as many as there is room for; how many it wrote.
[[nodiscard]] unsigned heaps_in_use(std::span<HeapFacts> rows, std::uint32_t from);

}  // namespace thread_heap
}  // namespace nebula
