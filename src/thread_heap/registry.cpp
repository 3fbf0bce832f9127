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

// A bit for each heap that no thread has.
NEBULA_START_DATA constinit std::uint64_t early_idle NEBULA_GUARDED_BY(registry_lock) = 0;
constinit std::uint64_t heaps_idle[kHeapsMost / 64] NEBULA_GUARDED_BY(registry_lock) = {};
NEBULA_START_DATA constinit std::uint32_t idle_heaps NEBULA_GUARDED_BY(registry_lock) = 0;
NEBULA_START_DATA constinit std::uint32_t threads_of_shard[NodeHeap::kShards] NEBULA_GUARDED_BY(registry_lock) = {};

std::uint64_t& idle_word(std::uint32_t word) NEBULA_REQUIRES(registry_lock) { return word == 0 ? early_idle : heaps_idle[word]; }

std::uint32_t& threads_beside(const ThreadHeap& heap) NEBULA_REQUIRES(registry_lock) {
  return threads_of_shard[static_cast<unsigned>(NodeHeap::shard_for(heap.index))];
}

// It has a thread from now on: the caller's.
ThreadHeap& take(std::uint32_t index) NEBULA_REQUIRES(registry_lock) {
  ThreadHeap& heap = heap_at(index);
  idle_word(index / 64) &= ~(std::uint64_t{1} << (index % 64));
  --idle_heaps;
  heap.in_use.store(true, kRelaxed);
  ++threads_beside(heap);
  return heap;
}

// What is kept in the pools of heaps that no thread has, and when the last of them came (coarse milliseconds). Relaxed: a bound, and an age.
constexpr std::uint32_t kKeptBytesOfClass = 4 * kKiB;
constexpr std::uint64_t kKeptBytesLeast = kMiB;
NEBULA_START_DATA constinit std::atomic<std::uint64_t> kept_bytes_of_all{0};
NEBULA_START_DATA constinit std::atomic<std::uint64_t> kept_at{0};

}  // namespace

std::atomic<std::uint64_t>& ready_word(std::uint32_t word) { return word == 0 ? early_ready : heaps_ready[word]; }

std::atomic<Address>& owner_of(std::uint32_t heap) { return heap < kEarly ? early_owners[heap] : owners[heap]; }

void count_new(const ThreadHeap& heap) { ++threads_beside(heap); }

void put_idle(ThreadHeap& heap) {
  LockGuard guard(registry_lock);
  heap.in_use.store(false, kRelaxed);
  idle_word(heap.index / 64) |= std::uint64_t{1} << (heap.index % 64);
  ++idle_heaps;
  if (std::uint32_t& threads = threads_beside(heap); threads != 0) --threads;  // a child of fork may not know of all
}

std::uint32_t idle_heaps_now() {
  LockGuard guard(registry_lock);
  return idle_heaps;
}

// Two threads that live together are to share a shard only when each has one; of its heaps the lowest, so that high ones stay idle.
ThreadHeap* take_idle() {
  LockGuard guard(registry_lock);
  if (idle_heaps == 0) return nullptr;
  const unsigned shards = NodeHeap::shards_most();
  const std::uint64_t every = ~std::uint64_t{0} / ((std::uint64_t{1} << shards) - 1);  // the bits of shard 0
  std::uint32_t first[NodeHeap::kShards];
  unsigned missing = (1u << shards) - 1;
  const std::uint32_t end = heaps_reserved.load(kRelaxed);
  for (std::uint32_t word = 0; word * 64 < end && missing != 0; ++word) {
    if (idle_word(word) == 0) continue;
    for (unsigned shard = 0; shard < shards; ++shard) {
      const std::uint64_t bits = idle_word(word) & every << shard;
      if ((missing >> shard & 1) == 0 || bits == 0) continue;
      first[shard] = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
      missing &= ~(1u << shard);
    }
  }
  unsigned best = NodeHeap::kShards;
  for (unsigned shard = 0; shard < shards; ++shard)
    if ((missing >> shard & 1) == 0 && (best == NodeHeap::kShards || threads_of_shard[shard] < threads_of_shard[best])) best = shard;
  return best == NodeHeap::kShards ? nullptr : &take(first[best]);
}

bool try_keep_pools(ThreadHeap& heap) {
  // Accounts, nodes and samples have whose a slot is settled at each thread's end; a swing is this thread's alone.
  if (tenants::exist() || NodeHeap::count() != 1 || heap.is_watched || heap.swing_bytes != 0) return false;
  if (page_policy.purge == config::PagePolicy::Purge::kNow) return false;
  thread_heap::flush_beyond(heap, kKeptBytesOfClass);
  LockGuard guard(heap.gate);
  if (heap.reclaim_epoch != reclaim_epoch.load(kRelaxed)) return false;
  std::uint64_t bytes = 0;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) bytes += pooled(heap, c) * slot_size(size_class(c));
  const std::uint64_t share = process_account.committed() / 32;
  const std::uint64_t most = share > kKeptBytesLeast ? share : kKeptBytesLeast;
  if (bytes == 0) return false;
  if (kept_bytes_of_all.fetch_add(bytes, kRelaxed) + bytes > most) {
    kept_bytes_of_all.fetch_sub(bytes, kRelaxed);
    return false;
  }
  heap.kept_bytes = static_cast<std::uint32_t>(bytes);
  kept_at.store(os::coarse_milliseconds(), kRelaxed);
  return true;
}

bool unkeep_pools(ThreadHeap& heap) {
  const std::uint32_t bytes = heap.kept_bytes;
  heap.kept_bytes = 0;
  kept_bytes_of_all.fetch_sub(bytes, kRelaxed);
  return bytes != 0;
}

ThreadHeap* heap_left_here() {
  const auto here = reinterpret_cast<Address>(&current_heap);
  const std::uint32_t end = heaps_reserved.load(kRelaxed);
  for (std::uint32_t i = 0; i < end && i < kHeapsMost; ++i) {
    // acquire: the thread that ended had its place given back by the C library before this one could get it.
    if (owner_of(i).load(std::memory_order_acquire) == here) return &heap_at(i);
  }
  return nullptr;
}

void flush_idle_heaps() {
  const std::uint32_t end = heaps_reserved.load(kRelaxed);
  for (std::uint32_t index = 0; index < end && index < kHeapsMost; ++index) {
    {
      LockGuard guard(registry_lock);
      if ((idle_word(index / 64) >> (index % 64) & 1) == 0) continue;
      take(index);
    }
    ThreadHeap& heap = heap_at(index);
    thread_heap::flush_all(heap);
    if (unkeep_pools(heap)) thread_heap::pack(heap, thread_heap::Room::kGoes);
    put_idle(heap);
  }
}

namespace thread_heap {

void flush_kept_pools(std::uint64_t idle_milliseconds) {
  if (kept_bytes_of_all.load(kRelaxed) == 0) return;
  if (os::coarse_milliseconds() - kept_at.load(kRelaxed) >= idle_milliseconds) flush_idle_heaps();
}

void ask_others_to_flush() {
  for_each_heap([](ThreadHeap& heap) {
    if (&heap == current_heap) return;
    if (heap.in_use.load(kRelaxed)) {
      for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
        heap.capacity[c].store(0, kRelaxed);
        heap.capacity[kAway + c].store(0, kRelaxed);
      }
    }
  });
  // release, after the zeros: an owner that answers before has zeros left and comes here again; see answer_reclaim.
  reclaim_epoch.fetch_add(1, std::memory_order_release);
  flush_idle_heaps();
}

}  // namespace thread_heap
}  // namespace nebula
