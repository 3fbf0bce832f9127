#include "thread_heap/registry.hpp"

#include <bit>

#include "base/start_data.hpp"
#include "os/process.hpp"

namespace nebula {

NEBULA_START_DATA constinit std::atomic<std::uint32_t> heaps_reserved{0};  // indices below were given out
NEBULA_START_DATA constinit std::atomic<std::uint64_t> threads_started{0};
NEBULA_START_DATA constinit std::atomic<std::uint32_t> threads_now{0};
NEBULA_START_DATA constinit Lock registry_lock{LockRank::kRegistry};
constinit Lock heapless_gate{LockRank::kGate};

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Those of the first few, which nearly every program has, lie with what is written at the start.
constexpr std::uint32_t kEarly = 16;
NEBULA_START_DATA constinit std::atomic<std::uint64_t> early_ready{0};
NEBULA_START_DATA constinit std::atomic<Address> early_owners[kEarly] = {};
constinit std::atomic<std::uint64_t> heaps_ready[kHeapsMost / 64] = {};
constinit std::atomic<Address> owners[kHeapsMost] = {};

// By heap, a bit: no thread has it; and its pools may hold something, kept for the next thread or inherited through a fork.
struct Idle {
  std::uint64_t all = 0;
  std::uint64_t filled = 0;
};
NEBULA_START_DATA constinit Idle early_idle NEBULA_GUARDED_BY(registry_lock);
constinit Idle heaps_idle[kHeapsMost / 64] NEBULA_GUARDED_BY(registry_lock) = {};
NEBULA_START_DATA constinit std::uint32_t idle_heaps NEBULA_GUARDED_BY(registry_lock) = 0;
NEBULA_START_DATA constinit std::uint32_t threads_of_shard[NodeHeap::kShards] NEBULA_GUARDED_BY(registry_lock) = {};
NEBULA_START_DATA constinit std::uint64_t kept_bytes_of_all NEBULA_GUARDED_BY(registry_lock) = 0;

constexpr std::uint32_t kKeptBytesOfClass = 4 * kKiB;
constexpr std::uint64_t kKeptBytesLeast = kMiB;
constexpr std::uint64_t kAnyTime = ~std::uint64_t{0};
constexpr std::uint8_t kKeptTimesMost = 16;  // then all goes to the slabs once, where misuse is found

Idle& idle_word(std::uint32_t word) NEBULA_REQUIRES(registry_lock) { return word == 0 ? early_idle : heaps_idle[word]; }

std::uint32_t& threads_beside(const ThreadHeap& heap) NEBULA_REQUIRES(registry_lock) {
  return threads_of_shard[static_cast<unsigned>(NodeHeap::shard_for(heap.index))];
}

void unkeep(ThreadHeap& heap) NEBULA_REQUIRES(registry_lock) {
  kept_bytes_of_all = at_least_zero(kept_bytes_of_all, heap.kept_bytes);  // a handler's fork on the way here did not count it
  heap.kept_bytes = 0;
}

// It is the caller's from now on.
IdleHeap take(std::uint32_t index) NEBULA_REQUIRES(registry_lock) {
  ThreadHeap& heap = heap_at(index);
  const std::uint64_t bit = std::uint64_t{1} << (index % 64);
  Idle& word = idle_word(index / 64);
  word.all &= ~bit;
  word.filled &= ~bit;
  --idle_heaps;
  heap.in_use.store(true, kRelaxed);
  ++threads_beside(heap);
  const IdleHeap taken = {&heap, heap.kept_bytes};
  unkeep(heap);
  return taken;
}

// Of those from an index on, which moves on, the first whose pools may hold something; of kept ones alone, one kept no later than that.
IdleHeap take_filled(std::uint32_t& from, std::uint64_t kept_until) {
  LockGuard guard(registry_lock);
  for (const std::uint32_t end = heaps_end(); from < end; from = (from / 64 + 1) * 64) {
    for (std::uint64_t bits = idle_word(from / 64).filled >> (from % 64) << (from % 64); bits != 0; bits &= bits - 1) {
      const std::uint32_t index = from / 64 * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
      const ThreadHeap& heap = heap_at(index);
      if (kept_until != kAnyTime && (heap.kept_bytes == 0 || heap.kept_at > kept_until)) continue;
      from = index + 1;
      return take(index);
    }
  }
  return {};
}

}  // namespace

std::atomic<std::uint64_t>& ready_word(std::uint32_t word) { return word == 0 ? early_ready : heaps_ready[word]; }

std::atomic<Address>& owner_of(std::uint32_t heap) { return heap < kEarly ? early_owners[heap] : owners[heap]; }

void count_new(const ThreadHeap& heap) { ++threads_beside(heap); }

bool put_idle(ThreadHeap& heap, Pools pools) {
  LockGuard guard(registry_lock);
  // Whoever asked for memory meanwhile has not seen this one, or comes to it after this.
  if (pools == Pools::kKept && heap.reclaim_epoch != reclaim_epoch.load(kRelaxed)) {
    unkeep(heap);
    return false;
  }
  heap.in_use.store(false, kRelaxed);
  const std::uint64_t bit = std::uint64_t{1} << (heap.index % 64);
  Idle& word = idle_word(heap.index / 64);
  word.all |= bit;
  if (pools != Pools::kEmpty) word.filled |= bit;
  ++idle_heaps;
  if (std::uint32_t& threads = threads_beside(heap); threads != 0) --threads;  // a handler that forked before it was this thread's did not count it
  return true;
}

void put_idle_empty(ThreadHeap& heap) {
  thread_heap::flush_all(heap);
  thread_heap::pack(heap, thread_heap::Room::kGoes);
  (void)put_idle(heap, Pools::kEmpty);
}

std::uint32_t idle_heaps_now() {
  LockGuard guard(registry_lock);
  return idle_heaps;
}

// Two threads that live together are to share a shard only when each has one; of its heaps the lowest, so that high ones stay idle.
IdleHeap take_idle() {
  LockGuard guard(registry_lock);
  if (idle_heaps == 0) return {};
  const unsigned shards = NodeHeap::shards_most();
  const std::uint64_t every = ~std::uint64_t{0} / ((std::uint64_t{1} << shards) - 1);  // the bits of shard 0
  std::uint32_t first[NodeHeap::kShards] = {};
  unsigned missing = (1u << shards) - 1;
  const std::uint32_t end = heaps_end();
  for (std::uint32_t word = 0; word * 64 < end && missing != 0; ++word) {
    const std::uint64_t all = idle_word(word).all;
    if (all == 0) continue;
    for (unsigned shard = 0; shard < shards; ++shard) {
      const std::uint64_t bits = all & every << shard;
      if ((missing >> shard & 1) == 0 || bits == 0) continue;
      first[shard] = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
      missing &= ~(1u << shard);
    }
  }
  unsigned best = NodeHeap::kShards;
  for (unsigned shard = 0; shard < shards; ++shard)
    if ((missing >> shard & 1) == 0 && (best == NodeHeap::kShards || threads_of_shard[shard] < threads_of_shard[best])) best = shard;
  return best == NodeHeap::kShards ? IdleHeap{} : take(first[best]);
}

bool try_keep_pools(ThreadHeap& heap) {
  // Accounts, nodes and samples have whose a slot is settled at each thread's end; a swing is this thread's alone.
  if (tenants::exist() || NodeHeap::count() != 1 || heap.is_watched || heap.swing_bytes != 0) return false;
  if (page_policy.purge == config::PagePolicy::Purge::kNow || heap.kept_times == kKeptTimesMost) return false;
  const std::uint64_t bytes = thread_heap::trim_for_next(heap, kKeptBytesOfClass);
  if (bytes < kPageSize) return false;  // not worth a heap to look at
  const std::uint64_t share = process_account.committed() / 32;
  const std::uint64_t most = share > kKeptBytesLeast ? share : kKeptBytesLeast;
  LockGuard guard(registry_lock);
  if (kept_bytes_of_all + bytes > most || heap.reclaim_epoch != reclaim_epoch.load(kRelaxed)) return false;
  kept_bytes_of_all += bytes;
  heap.kept_bytes = static_cast<std::uint32_t>(bytes);
  heap.kept_at = os::coarse_milliseconds();
  ++heap.kept_times;
  return true;
}

void recount_in_child() NEBULA_UNCHECKED {
  kept_bytes_of_all = 0;
  idle_heaps = 0;
  for (std::uint32_t word = 0; word * 64 < heaps_end(); ++word) idle_heaps += static_cast<std::uint32_t>(std::popcount(idle_word(word).all));
  for (std::uint32_t& threads : threads_of_shard) threads = 0;
  for_each_heap([](ThreadHeap& heap) NEBULA_UNCHECKED {
    if (!heap.in_use.load(kRelaxed)) kept_bytes_of_all += heap.kept_bytes;
    if (&heap == current.heap) ++threads_beside(heap);
  });
}

ThreadHeap* heap_left_here() {
  const auto here = reinterpret_cast<Address>(&current);
  for (std::uint32_t i = 0, end = heaps_end(); i < end; ++i) {
    // acquire: the thread that ended had its place given back by the C library before this one could get it.
    if (owner_of(i).load(std::memory_order_acquire) == here) return &heap_at(i);
  }
  return nullptr;
}

namespace thread_heap {

void flush_gone() {
  std::uint32_t from = 0;
  while (ThreadHeap* const heap = take_filled(from, kAnyTime).heap) put_idle_empty(*heap);
}

void flush_kept_pools(std::uint64_t idle_milliseconds) {
  constexpr std::uint64_t kEnough = kMiB;  // for one call: it is in some malloc or free
  {
    LockGuard guard(registry_lock);
    if (kept_bytes_of_all == 0) return;
  }
  const std::uint64_t until = at_least_zero(os::coarse_milliseconds(), idle_milliseconds);
  std::uint32_t from = 0;
  for (std::uint64_t bytes = 0; bytes < kEnough;) {
    const IdleHeap taken = take_filled(from, until);
    if (taken.heap == nullptr) return;
    bytes += taken.kept_bytes;
    put_idle_empty(*taken.heap);
  }
}

void ask_others_to_flush() {
  for_each_heap([](ThreadHeap& heap) {
    if (&heap == current.heap) return;
    if (heap.in_use.load(kRelaxed)) {
      for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
        heap.capacity[c].store(0, kRelaxed);
        heap.capacity[kAway + c].store(0, kRelaxed);
      }
    }
  });
  // release, after the zeros: an owner that answers before has zeros left and comes here again; see answer_reclaim.
  reclaim_epoch.fetch_add(1, std::memory_order_release);
  flush_gone();
}

}  // namespace thread_heap
}  // namespace nebula
