#include "thread_heap/thread_heap.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <new>
#include <utility>

#include "base/bits.hpp"
#include "base/start_data.hpp"
#include "budget/usage.hpp"
#include "node_heap/placement.hpp"
#include "os/process.hpp"
#include "profiling/sampler.hpp"
#include "thread_heap/registry.hpp"

namespace nebula {

NEBULA_START_DATA constinit std::atomic<std::uint32_t> reclaim_epoch{0};

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

static_assert(kLayout.end < 0x10000, "an index has 16 bits");
static_assert(byte_of_slot(kLayout.end) <= kThreadHeapBytes);
static_assert(kThreadHeapBytes / kPageSize <= 128, "committed_pages has 128 bits");
static_assert(kClassEnd <= 128, "idle has 128 bits");

constexpr unsigned kRefillMost = 256;
constexpr std::uint32_t kRefillBytes = 16 * kKiB;  // of smaller ones more, up to so much
constexpr unsigned kFlushMost = 1024;
constexpr unsigned kFlushScattered = 2 * kBatchMost;
constexpr unsigned kRefillsBetweenLooks = 32;
constexpr std::uint64_t kTickMilliseconds = 100;

// A heap that gives nothing and takes nothing.
struct NoHeap {
  ThreadHeap heap = {};
  void* null = nullptr;
};
constinit const NoHeap no_heaps[2];

NEBULA_START_DATA constinit std::atomic<std::uint64_t> create_again_at{0};  // coarse milliseconds
constinit std::atomic<std::uint32_t> refused_pieces{0};

void push(ThreadHeap& heap, unsigned place, void* pointer) {
  const std::uint64_t word = heap.word[place].load(kRelaxed);
  heap.slots()[(word & 0xffff) + 1] = pointer;
  heap.word[place].store(word + 1, std::memory_order_release);
}

void set_returns(ThreadHeap& heap, unsigned c, unsigned count) {
  if (heap.is_watched) heap.set_aside[c] = static_cast<std::uint16_t>(count);
  else set_top(heap, kAway + c, kLayout.returns[c] + count);
}

void allow_returns(ThreadHeap& heap, unsigned c) {
  if (heap.is_watched) return;
  const unsigned capacity = has_returns(heap, c) ? kLayout.returns[c] + unsigned{kSizeClasses.slots_per_return[c]} : 0u;
  heap.capacity[kAway + c].store(static_cast<std::uint16_t>(capacity), kRelaxed);
}

bool is_watching() { return profiling::is_on() || module_limits::are_set(); }

// What there is of node heaps beside the first is there before a profile begins, or for tenants.
bool is_counting() { return profiling::is_on() && !tenants::exist() && NodeHeap::count() == 1; }

enum class Slots { kUsed, kZero };

void pack_pools(ThreadHeap& heap, Slots slots, bool is_watched) {
  forget_swing(heap);
  heap.is_watched = is_watched;
  heap.random_state = 0;
  if (heap.is_counted)
    for (std::uint64_t& stop : heap.stop) stop = 0;
  heap.is_counted = is_watched && is_counting();
  for (std::uint64_t& bits : heap.flushed_last) bits = 0;
  for (std::uint64_t& bits : heap.opened) bits = 0;
  for (std::uint64_t& bits : heap.idle) bits = 0;
  for (Count& bits : heap.returns_open) bits = 0;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    const unsigned place = place_of(heap, c);
    const unsigned other = is_watched ? c : kAway + c;
    heap.sent_home[c] = 0;
    heap.bottom[c] = kLayout.packed[c];
    set_top(heap, other, 0);  // the null for ever
    heap.capacity[other].store(0, kRelaxed);
    set_top(heap, place, heap.bottom[c]);
    if (slots != Slots::kZero) heap.slots()[heap.bottom[c]] = nullptr;
    set_limit(heap, c, kSizeClasses.slots_per_pool_first[c]);
  }
}

// A heap from fresh memory; null when system or budget has no room for it.
ThreadHeap* create() {
  constexpr std::uint64_t kPatienceMilliseconds = 100;  // after a refusal: every call of a thread without a heap comes here
  const std::uint64_t now = os::coarse_milliseconds();
  if (now < create_again_at.load(kRelaxed)) return nullptr;
  const std::size_t most = pages::capacity_of(pages::Area::kThreadHeaps) / kThreadHeapBytes;
  if (heaps_reserved.load(kRelaxed) >= (most < kHeapsMost ? most : kHeapsMost)) return nullptr;
  const std::size_t bytes = pages_for(kPackedBytes).bytes();
  if (!pages::commit_metadata(bytes)) {
    create_again_at.store(now + kPatienceMilliseconds, kRelaxed);
    return nullptr;
  }
  const std::uint32_t mine = heaps_reserved.fetch_add(1, kRelaxed);
  if (mine >= most || mine >= kHeapsMost || !pages::map_piece(reinterpret_cast<Address>(&heap_at(mine)), kRoomBytes)) {
    pages::uncommit_metadata(bytes);
    create_again_at.store(now + kPatienceMilliseconds, kRelaxed);
    // The index is used again, unless another thread has taken the next one meanwhile or the place proves to be taken.
    constexpr std::uint32_t kTries = 16;
    std::uint32_t end = mine + 1;
    if (refused_pieces.fetch_add(1, kRelaxed) % kTries != kTries - 1)
      heaps_reserved.compare_exchange_strong(end, mine, kRelaxed);
    return nullptr;
  }
  ThreadHeap& heap = heap_at(mine);
  new (&heap.gate) Lock(LockRank::kGate);
  heap.gate.lock_with_all_others();
  heap.index = mine;
  for (std::size_t page = 0; page < pages_for(kPackedBytes).count; ++page)
    heap.committed_pages[page / 64] |= std::uint64_t{1} << (page % 64);
  pack_pools(heap, Slots::kZero, false);  // fresh memory: its pages are touched as pools are used
  heap.in_use.store(true, kRelaxed);
  LockGuard guard(registry_lock);  // whoever holds all gates holds this: no gate appears under them
  NodeHeap::open(NodeHeap::shard_for(mine));
  count_new(heap);
  // release: pairs with the acquire in for_each_heap.
  ready_word(mine / 64).fetch_or(std::uint64_t{1} << (mine % 64), std::memory_order_release);
  return &heap;
}

NodeHeap::Source source() {
  return threads_now.load(kRelaxed) > 1 ? NodeHeap::Source::kDepotFirst : NodeHeap::Source::kSlabsOnly;
}

// Where slots go that may be of several heaps: a batch of one heap's to its depot. Counts those of others than this thread's.
NodeHeap::Source way_home(const ThreadHeap& heap, SizeClass size, void* const* first, unsigned count) {
  if (NodeHeap::count() == 1) return source();
  const HeapId of_first = NodeHeap::heap_of_slab(static_cast<UnitIndex>(unit_of(first[0])), size);
  unsigned of_others = 0;
  HeapId of = of_first;
  for (unsigned i = 1; i < count; ++i) {
    // Neighbours in the pool are often neighbours in memory.
    if (unit_of(first[i]) != unit_of(first[i - 1])) of = NodeHeap::heap_of_slab(static_cast<UnitIndex>(unit_of(first[i])), size);
    if (of == of_first) continue;
    ++of_others;
    if (of != heap.home) NodeHeap::at(of).count_returned(1);
  }
  if (of_first != heap.home) NodeHeap::at(of_first).count_returned(count - of_others);
  return of_others == 0 ? NodeHeap::Source::kDepotFirst : NodeHeap::Source::kSlabsOnly;
}

// Whether most slots lie in the same unit as the next one, by eight of them: then they go back to their slab at little cost and come
// out in the order of their addresses, where a depot would give them as they came.
bool are_neighbours(void* const* slots, unsigned count) {
  constexpr unsigned kLooks = 8;
  if (count < 2) return true;
  unsigned together = 0;
  for (unsigned look = 0; look < kLooks; ++look) {
    const unsigned i = look * (count - 1) / kLooks;
    together += unit_of(slots[i]) == unit_of(slots[i + 1]) ? 1 : 0;
  }
  return together >= kLooks * 3 / 4;
}

// Under the gate. The oldest slots lie at the bottom.
void flush_from(ThreadHeap& heap, unsigned c, unsigned below, unsigned count, NodeHeap::Source where, const char* call) {
  void** const first = heap.slots() + heap.bottom[c] + 1 + below;
  const unsigned left = pooled(heap, c) - count;
  if (heap.is_watched && NodeHeap::count() != 1) {
    const NodeHeap::Source home = way_home(heap, size_class(c), first, count);
    if (where == NodeHeap::Source::kDepotFirst) where = home;
  }
  // Another shard's go through its depot without its lock.
  if (where == NodeHeap::Source::kDepotFirst && are_neighbours(first, count) &&
      NodeHeap::at(heap.home).is_of_shard(size_class(c), *first, NodeHeap::shard_for(heap.index)))
    where = NodeHeap::Source::kSlabsOnly;
  NodeHeap::flush(size_class(c), first, count, where, call);
  std::memmove(first, first + count, (left - below) * sizeof *first);
  heap.flushed[c] += count;
  ++heap.flushes;
  set_top(heap, place_of(heap, c), heap.bottom[c] + left);
}

// Under the gate. What was freed last stays.
void flush_oldest(ThreadHeap& heap, unsigned c, unsigned count, NodeHeap::Source where, const char* call) {
  flush_from(heap, c, 0, count, where, call);
}

// Under the gate, of a pool that is full: its older half. Of a large one the newest: half would be more than one free should pay for,
// and of the oldest what stays would have to move down. Of many slots from everywhere less, in whole batches: each may wait for memory.
void flush_some(ThreadHeap& heap, unsigned c, const char* call) {
  const unsigned count = pooled(heap, c);
  const bool is_large = count > 2 * kFlushMost;
  unsigned some = is_large ? kFlushMost : count - count / 2;
  if (some > 2 * kFlushScattered && !are_neighbours(heap.slots() + heap.bottom[c] + 1 + (is_large ? count - some : 0), some))
    some = kFlushScattered - kFlushScattered % kSizeClasses.batch[c];
  flush_from(heap, c, is_large ? count - some : 0, some, source(), call);
}

// Under the gate. Whether the last event of the class was of the other kind; notes this one.
Trend note_event(ThreadHeap& heap, unsigned c, bool is_flush) {
  const std::uint64_t bit = std::uint64_t{1} << (c % 64);
  std::uint64_t& word = heap.flushed_last[c / 64];
  const bool was_flush = (word & bit) != 0;
  word = is_flush ? word | bit : word & ~bit;
  return was_flush != is_flush ? Trend::kSwing : Trend::kSame;
}

// Under the gate. All slots of the class's return pool.
void flush_returns(ThreadHeap& heap, unsigned c) {
  const unsigned count = returns_pooled(heap, c);
  if (count == 0) return;
  const SizeClass size = size_class(c);
  void** const first = heap.slots() + kLayout.returns[c] + 1;
  NodeHeap::flush(size, first, count, way_home(heap, size, first, count), "free");
  heap.flushed[c] += count;
  ++heap.flushes;
  set_returns(heap, c, 0);
}

// Under the gate.
void flush_class(ThreadHeap& heap, unsigned c, NodeHeap::Source where) {
  if (const unsigned count = pooled(heap, c); count != 0) flush_oldest(heap, c, count, where, "free");
  flush_returns(heap, c);
}

// From now on this thread's heap takes from there and tells its slots from others'.
void live_at(ThreadHeap& heap, HeapId home) {
  heap.home = home;
  current.base = heap_map.base;
  current.view = heap.is_watched                      ? view_of(kHeapOfNone)
                 : pages::views.load(kRelaxed) == 0 ? class_map()
                                                     : view_of(home);
}

// Under the gate, of a heap whose pools are empty.
void watch(ThreadHeap& heap) {
  pack_pools(heap, Slots::kUsed, true);
  if (profiling::is_on()) {
    heap.random_state = profiling::fresh_random_state();
    for (unsigned c = kClassFirst; c < kClassEnd; ++c) thread_heap::draw_next_sample(heap, size_class(c));
  }
  live_at(heap, heap.home);
}

// Under the gate. A reclaim somewhere has set the capacities to 0: give everything, then be as before.
void answer_reclaim(ThreadHeap& heap) {
  // acquire: pairs with the release in ask_others_to_flush, so the zeros come before what is stored below.
  const std::uint32_t epoch = reclaim_epoch.load(std::memory_order_acquire);
  if (heap.reclaim_epoch == epoch) return;
  heap.reclaim_epoch = epoch;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    flush_class(heap, c, NodeHeap::Source::kSlabsOnly);
    allow_frees(heap, c);
    allow_returns(heap, c);
  }
  if (is_watching() && (!heap.is_watched || (profiling::is_on() && heap.random_state == 0))) watch(heap);
}

// Under the gate. Where the class has no return pool yet, it has one then, if system and budget have room for it.
bool open_returns(ThreadHeap& heap, unsigned c) {
  if (has_returns(heap, c)) return true;
  const unsigned first = kLayout.returns[c];
  if (!map_part(heap, heap.has_return_room, kPiecesEndBytes, kThreadHeapBytes)) return false;
  if (!commit_slots(heap, first, first + kSizeClasses.slots_per_return[c] + 1u)) return false;
  heap.returns_open[c / 64] = heap.returns_open[c / 64] | std::uint64_t{1} << (c % 64);
  heap.slots()[first] = nullptr;
  set_returns(heap, c, 0);
  allow_returns(heap, c);
  return true;
}

// Under the gate. False where the class has no return pool.
bool push_return(ThreadHeap& heap, unsigned c, void* slot) {
  if (!open_returns(heap, c)) return false;
  if (returns_pooled(heap, c) == kSizeClasses.slots_per_return[c]) flush_returns(heap, c);
  const unsigned count = returns_pooled(heap, c);
  heap.slots()[kLayout.returns[c] + 1 + count] = slot;
  set_returns(heap, c, count + 1);
  return true;
}

// Under the gate: one slot, into no pool.
void flush_one(ThreadHeap& heap, unsigned c, void* slot, const char* call) {
  NodeHeap::flush(size_class(c), &slot, 1, NodeHeap::Source::kSlabsOnly, call);
  ++heap.flushed[c];
  ++heap.flushes;
}

// The allocations' lowest 16 bits are enough: the classes' own frees and allocations would have to come to that very number.
std::uint32_t low_half(const ThreadHeap& heap, unsigned c) {
  return static_cast<std::uint32_t>(heap.word[place_of(heap, c)].load(kRelaxed));
}

bool has_idle_pools(const ThreadHeap& heap) { return (heap.idle[0] | heap.idle[1]) != 0; }

void look_for_idle_pools(ThreadHeap& heap) {
  for (unsigned word = 0; word < std::size(heap.opened); ++word) {
    std::uint64_t idle = 0;
    for (std::uint64_t bits = heap.opened[word]; bits != 0; bits &= bits - 1) {
      const unsigned c = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
      const std::uint32_t now = low_half(heap, c);
      if (now == std::exchange(heap.word_seen[c], now) && pooled(heap, c) != 0) idle |= bits & -bits;
    }
    heap.idle[word] = idle;
  }
}

// Under the gate. What the pool holds of the thread's own shard, and the shard's depot of the class.
void flush_to_shard(ThreadHeap& heap, unsigned c) {
  const SizeClass size = size_class(c);
  NodeHeap& home = NodeHeap::at(heap.home);
  const NodeHeap::Shard shard = NodeHeap::shard_for(heap.index);
  void** const first = heap.slots() + heap.bottom[c] + 1;
  void** const end = first + pooled(heap, c);
  std::size_t unit = kNoUnit;
  bool is_home = false;
  const auto own = std::partition(first, end, [&](void* slot) {
    // Neighbours in the pool are often neighbours in memory.
    if (unit_of(slot) != unit) is_home = home.is_of_shard(size, slot, shard);
    unit = unit_of(slot);
    return is_home;
  }) - first;
  if (own != 0) flush_oldest(heap, c, static_cast<unsigned>(own), NodeHeap::Source::kSlabsOnly, "free");
  if (pooled(heap, c) == 0) heap.opened[c / 64] &= ~(std::uint64_t{1} << (c % 64));
  home.drain_depot(size, shard);
}

// Under the gate, when the shard has no more: of sizes that the thread has left, the last slots, each of which may keep a slab.
void flush_idle_pools(ThreadHeap& heap) {
  for (unsigned word = 0; word < std::size(heap.idle); ++word) {
    for (std::uint64_t bits = std::exchange(heap.idle[word], 0); bits != 0; bits &= bits - 1) {
      const unsigned c = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
      if (low_half(heap, c) == heap.word_seen[c]) flush_to_shard(heap, c);
    }
  }
}

// Under the gate, of an empty pool; false when system and budget have none.
bool fill(ThreadHeap& heap, unsigned c, NodeHeap::Source where) {
  const Trend trend = note_event(heap, c, false);
  if ((heap.opened[c / 64] >> (c % 64) & 1) != 0) grow_pool(heap, c, trend);  // empty again: it was too small
  const unsigned room = limit_of(heap, c);
  unsigned wanted = (room + 1) / 2;
  if (wanted > kRefillMost) wanted = std::min(wanted, std::max(kRefillMost, kRefillBytes / kSizeClasses.slot_size[c]));
  // Of slots that no line has parts of two of, slabs give exactly as many as are wanted: written where they stay, so that nothing is to be
  // moved. With room for a batch, for the depots, which are asked last.
  const bool is_exact = where == NodeHeap::Source::kSlabsOnly && kSizeClasses.slot_size[c] % kCacheLine == 0;
  const unsigned most = is_exact ? std::clamp<unsigned>(kSizeClasses.batch[c], wanted, room) : room;
  void** const first = heap.slots() + heap.bottom[c] + 1;
  void** const end = first + most;
  NodeHeap& from = NodeHeap::at(heap.home);
  const NodeHeap::Shard shard = NodeHeap::shard_for(heap.index);
  if (heap.refills % kRefillsBetweenLooks == 0) look_for_idle_pools(heap);
  unsigned got = 0;
  if (has_idle_pools(heap)) {
    got = from.refill_from_shard(size_class(c), end, wanted, most, where, shard);
    if (got == 0) flush_idle_pools(heap);
  }
  if (got == 0) got = from.refill(size_class(c), end, wanted, most, where, shard);
  if (got == 0) return false;
  if (got != most) std::memmove(first, end - got, got * sizeof *first);
  heap.refilled[c] += got;
  ++heap.refills;
  mark_active(heap, c);
  set_top(heap, place_of(heap, c), heap.bottom[c] + got);
  return true;
}

// Under the gate, of a heap that is watched. Slots of other node heaps on top of the class's pool: this thread cannot have them.
void set_others_aside(ThreadHeap& heap, unsigned c) {
  if (NodeHeap::count() == 1) return;
  while (pooled(heap, c) != 0) {
    const unsigned top = top_of(heap, kAway + c);
    void* const slot = heap.slots()[top];
    if (is_own(heap, c, slot)) return;
    set_top(heap, kAway + c, top - 1);
    if (!push_return(heap, c, slot)) flush_one(heap, c, slot, "free");
  }
}

// Under the gate, of a heap that is watched.
void* refill_and_pop_counted(ThreadHeap& heap, unsigned c) {
  set_others_aside(heap, c);
  if (pooled(heap, c) == 0 && !fill(heap, c, source())) return nullptr;
  const std::uint64_t word = heap.word[kAway + c].load(kRelaxed);
  heap.word[kAway + c].store(word + kPop, std::memory_order_release);
  return heap.slots()[word & 0xffff];
}

// Under the gate. A thread that moved to another node, or was none's yet, takes from there from now on; what it has goes
// home. Not more often than so: a thread that is moved to and fro has its slots near one of the two.
void settle(ThreadHeap& heap, HeapId here) {
  constexpr std::uint64_t kSettledMilliseconds = 10;
  if (heap.home == here) [[likely]] return;
  const std::uint64_t now = os::coarse_milliseconds();
  if (now - heap.settled_at < kSettledMilliseconds) return;
  heap.settled_at = now;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) flush_class(heap, c, NodeHeap::Source::kDepotFirst);
  live_at(heap, here);
  NodeHeap::at(here).count_arrival();
}

// Under a gate: one slot, through no pool; null when system and budget have none.
void* take_one(NodeHeap& from, SizeClass c, std::uint32_t thread_heap) {
  // A refill may end on a cache line and so give more than one; the rest goes straight back.
  constexpr unsigned kRoom = kCacheLine / kGranule;
  void* slots[kRoom];
  const unsigned got = from.refill(c, slots + kRoom, 1, kRoom, NodeHeap::Source::kSlabsOnly, NodeHeap::shard_for(thread_heap));
  if (got == 0) return nullptr;
  if (got > 1) NodeHeap::flush(c, slots + kRoom - got, got - 1, NodeHeap::Source::kSlabsOnly, "malloc");
  return slots[kRoom - 1];
}

void* refill_and_pop_at(ThreadHeap& heap, SizeClass c, HeapId home) {
  const unsigned i = index_of(c);
  LockGuard guard(heap.gate);
  settle(heap, home);
  answer_reclaim(heap);
  if (!is_open(heap, i)) {
    heap.sent_home[i] = kSentHomeMost;
    allow_frees(heap, i);
  }
  if (heap.is_watched) return refill_and_pop_counted(heap, i);
  if (pooled(heap, i) == 0 && !fill(heap, i, source())) return nullptr;
  return try_pop(&heap, i);
}

}  // namespace

ThreadHeap* const no_heap_yet = const_cast<ThreadHeap*>(&no_heaps[0].heap);
ThreadHeap* const no_heap_any_more = const_cast<ThreadHeap*>(&no_heaps[1].heap);

// A base above all addresses: where a handler that makes the thread's first allocation interrupts its first free after the load of the base,
// nothing passes for mapped.
constinit thread_local Current current = {const_cast<ThreadHeap*>(&no_heaps[0].heap), Address{1} << 63, 0, nullptr};

namespace thread_heap {

Lock& my_gate() { return is_none(current.heap) ? heapless_gate : current.heap->gate; }

bool is_none(const ThreadHeap* heap) { return heap == no_heap_yet || heap == no_heap_any_more; }

unsigned part_here() { return is_none(current.heap) ? 0 : static_cast<unsigned>(NodeHeap::shard_for(current.heap->index)); }

ThreadHeap* ensure() {
  if (current.heap != no_heap_yet) return current.heap;
  const IdleHeap idle = take_idle();
  ThreadHeap* heap = idle.heap;
  const bool has_pools = idle.kept_bytes != 0;
  ThreadHeap* const inherited = heap == nullptr ? heap_left_here() : nullptr;
  if (heap == nullptr) heap = inherited != nullptr ? inherited : create();
  if (heap == nullptr) return current.heap;
  heap->exit_rounds = 0;
  heap->thread_id.store(os::thread_id(), kRelaxed);
  const std::uint32_t epoch = reclaim_epoch.load(std::memory_order_acquire);  // as in answer_reclaim
  // What was kept for this thread is, unless memory was asked back since.
  if (!has_pools || heap->reclaim_epoch != epoch) {
    if (has_pools) flush_all(*heap);
    heap->reclaim_epoch = epoch;
    for (unsigned c = kClassFirst; c < kClassEnd; ++c) allow_frees(*heap, c);
  }
  heap->ticked_at = os::coarse_milliseconds();
  if (inherited == nullptr) {
    if (tenants::exist()) flush_all(*heap);  // after a fork its pools may hold what was another thread's
    heap->named_at = 0;
    heap->names_seen = thread_limits::names_set.load(kRelaxed) - 1;
    const HeapId home = home_for(*heap);
    live_at(*heap, home != kNoHeap ? home : placement::small_here());
  } else {
    live_at(*heap, heap->home);
  }
  if (is_watching() && !heap->is_watched) {
    flush_all(*heap);
    LockGuard guard(heap->gate);
    watch(*heap);
  }
  refresh();
  threads_started.fetch_add(1, kRelaxed);
  if (inherited == nullptr) threads_now.fetch_add(1, kRelaxed);
  owner_of(heap->index).store(reinterpret_cast<Address>(&current), std::memory_order_release);
  current.heap = heap;
  return heap;
}

void begin_watch() {
  ask_others_to_flush();
  if (is_none(current.heap)) return;
  LockGuard guard(current.heap->gate);
  answer_reclaim(*current.heap);
}

void* refill_and_pop(ThreadHeap& heap, SizeClass c) {
  const HeapId home = home_for(heap);
  if (home == kNoHeap) return nullptr;
  if (void* const slot = refill_and_pop_at(heap, c, home)) return slot;
  // A node's limit: the nearest place that has room, and there, too, a heap that its tenant is charged for.
  while (tenants::widen(heap.home))
    if (void* const slot = refill_and_pop_at(heap, c, home)) return slot;
  return nullptr;
}

void make_room_and_push(ThreadHeap& heap, SizeClass c, void* pointer, const char* call) {
  const unsigned i = index_of(c);
  LockGuard guard(heap.gate);
  if (!tenants::exist()) settle(heap, placement::small_here());
  answer_reclaim(heap);
  const bool is_away = NodeHeap::count() != 1 && !is_own(heap, i, pointer);
  if (is_away) {
    see_slab(heap, c, static_cast<UnitIndex>(unit_of(pointer)));
    if (!push_return(heap, i, pointer)) flush_one(heap, i, pointer, call);
    return;
  }
  if (!is_open(heap, i)) {
    ++heap.sent_home[i];
    allow_frees(heap, i);
    return flush_one(heap, i, pointer, call);
  }
  mark_active(heap, i);
  if (pooled(heap, i) >= limit_of(heap, i)) grow_pool(heap, i, note_event(heap, i, true));
  if (pooled(heap, i) >= limit_of(heap, i)) flush_some(heap, i, call);
  push(heap, place_of(heap, i), pointer);
}

bool was_freed_last(ThreadHeap& heap, SizeClass c, const void* pointer) {
  const unsigned i = index_of(c);
  if (heap.slots()[top_of(heap, i)] == pointer || heap.slots()[top_of(heap, kAway + i)] == pointer) return true;
  const unsigned returned = returns_pooled(heap, i);  // of a heap that is watched they have no word
  return returned != 0 && heap.slots()[kLayout.returns[i] + returned] == pointer;
}

void* allocate_direct(SizeClass c) {
  LockGuard guard(heapless_gate);
  void* const slot = take_one(NodeHeap::at(placement::small_here()), c, 0);
  if (slot != nullptr) node_heap.count_direct_allocation(c);
  return slot;
}

void* allocate_from(ThreadHeap& heap, HeapId from, SizeClass c) {
  const unsigned i = index_of(c);
  LockGuard guard(heap.gate);
  answer_reclaim(heap);
  void* const slot = take_one(NodeHeap::at(from), c, heap.index);
  if (slot == nullptr) return nullptr;
  ++heap.refilled[i];
  ++heap.refills;
  // As a push and a pop in one: the top stays, an allocation is counted.
  const unsigned place = place_of(heap, i);
  heap.word[place].store(heap.word[place].load(kRelaxed) + (std::uint64_t{1} << kCountOne), std::memory_order_release);
  return slot;
}

void free_direct(SizeClass c, void* pointer, const char* call) {
  LockGuard guard(my_gate());
  NodeHeap::flush(c, &pointer, 1, NodeHeap::Source::kSlabsOnly, call);
  node_heap.count_direct_free(c);
}

void flush_all(ThreadHeap& heap) {
  LockGuard guard(heap.gate);
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) flush_class(heap, c, NodeHeap::Source::kSlabsOnly);
}

std::uint64_t trim_for_next(ThreadHeap& heap, std::uint32_t most_bytes) {
  LockGuard guard(heap.gate);
  std::uint64_t bytes = 0;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    const std::size_t size = slot_size(size_class(c));
    const auto most = static_cast<unsigned>(most_bytes / size);
    if (const unsigned count = pooled(heap, c); count > most) flush_oldest(heap, c, count - most, NodeHeap::Source::kSlabsOnly, "free");
    flush_returns(heap, c);
    bytes += pooled(heap, c) * size;
    if (pooled(heap, c) != 0) continue;
    heap.sent_home[c] = 0;  // as at a thread's begin: it opens with its first allocation
    allow_frees(heap, c);
  }
  return bytes == 0 ? 0 : bytes + at_least_zero(room_of(heap).bytes(), pages_for(kPackedBytes).bytes());
}

void tick(ThreadHeap& heap) {
  const std::uint64_t now = os::coarse_milliseconds();
  if (now - heap.ticked_at < kTickMilliseconds) return;
  LockGuard guard(heap.gate);
  heap.ticked_at = now;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    const bool active = (heap.active[c / 64] >> (c % 64) & 1) != 0;
    flush_returns(heap, c);
    if (active) continue;
    // Not once empty or full since the last tick: half of it will do.
    if (const unsigned count = pooled(heap, c); count != 0)
      flush_oldest(heap, c, std::min(count - count / 2, kFlushMost), NodeHeap::Source::kSlabsOnly, "free");
    shrink_pool(heap, c);
  }
  for (std::uint64_t& bits : heap.active) bits = 0;
  bump::tick(heap.bump);
}

void pack(ThreadHeap& heap, Room room) {
  LockGuard guard(heap.gate);
  pack_pools(heap, Slots::kUsed, false);
  heap.kept_times = 0;
  if (room == Room::kStays) return;
  give_back_room(heap, pages_for(kPackedBytes).bytes(), heap.has_pieces ? kPiecesEndBytes : kRoomBytes);
  if (heap.has_return_room) give_back_room(heap, kPiecesEndBytes, kThreadHeapBytes);
}

void release_current() {
  ThreadHeap* const heap = current.heap;
  if (is_none(heap)) return;
  const bool keeps_pools = try_keep_pools(*heap);
  if (!keeps_pools) flush_all(*heap);
  give_up_account(*heap);
  current.heap = no_heap_any_more;
  current.mapped_units = 0;
  {
    LockGuard guard(heap->gate);
    bump::leave(heap->bump);
  }
  // The room that grown pools had: a thousand threads that are gone must not hold a hundred megabytes. The next few
  // threads find it ready, about a MiB.
  if (!keeps_pools) pack(*heap, idle_heaps_now() * room_of(*heap).bytes() < kMiB ? Room::kStays : Room::kGoes);
  threads_now.fetch_sub(1, kRelaxed);
  owner_of(heap->index).store(0, kRelaxed);
  if (!put_idle(*heap, keeps_pools ? Pools::kKept : Pools::kEmpty)) put_idle_empty(*heap);
}

}  // namespace thread_heap
}  // namespace nebula
