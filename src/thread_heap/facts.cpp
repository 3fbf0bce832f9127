// What the thread heaps did, for reports.
#include "base/largest.hpp"
#include "thread_heap/registry.hpp"

namespace nebula::thread_heap {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Without the gate the parts may be of different moments; never below zero.
PoolFacts pool_of(const ThreadHeap& heap, unsigned c) {
  const std::uint64_t word = heap.word[c].load(kRelaxed);
  const std::uint64_t other = heap.word[kAway + c].load(kRelaxed);
  const std::uint64_t top = (heap.is_watched ? other : word) & 0xffff;
  PoolFacts pool;
  pool.allocations = (word >> kCountOne) + (other >> kCountOne);
  // A pool that moves down meanwhile: its old top, its new bottom.
  const std::uint64_t in_pool = at_least_zero(top, heap.bottom[c]);
  pool.pooled = (in_pool <= kSizeClasses.slots_per_pool_swing[c] ? in_pool : 0) + returns_pooled(heap, c);
  pool.frees = at_least_zero(pool.pooled + pool.allocations + heap.flushed[c], heap.refilled[c]);
  return pool;
}

template <class OnPool>
HeapFacts facts_of(const ThreadHeap& heap, OnPool on_pool) {
  HeapFacts sum = {heap.index, heap.thread_id.load(kRelaxed), heap.in_use.load(kRelaxed)};
  sum.refills = heap.refills;
  sum.flushes = heap.flushes;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    const PoolFacts pool = pool_of(heap, c);
    on_pool(size_class(c), pool);
    sum.allocations += pool.allocations;
    sum.frees += pool.frees;
    sum.pooled_bytes += pool.pooled * slot_size(size_class(c));
  }
  return sum;
}

}  // namespace

PoolFacts pool_facts(SizeClass c) {
  PoolFacts sum;
  for_each_heap([&](const ThreadHeap& heap) {
    const PoolFacts pool = pool_of(heap, index_of(c));
    sum.allocations += pool.allocations;
    sum.frees += pool.frees;
    sum.pooled += pool.pooled;
  });
  return sum;
}

BumpFacts bump_facts() {
  BumpFacts sum;
  for_each_heap([&](const ThreadHeap& heap) {
    sum.allocations += bump::allocations_of(heap.bump);
    sum.bytes += heap.bump.bytes.load(kRelaxed);
    sum.rewinds += heap.bump.rewinds.load(kRelaxed);
    sum.reuses += heap.bump.reuses.load(kRelaxed);
  });
  return sum;
}

void read(const Reader& reader) {
  for_each_heap([&](const ThreadHeap& heap) {
    reader.on_heap(reader.target, facts_of(heap, [&](SizeClass c, const PoolFacts& pool) { reader.on_pool(reader.target, c, pool); }));
  });
}

std::uint64_t pooled_bytes_about() NEBULA_UNCHECKED {
  std::uint64_t sum = 0;
  for_each_heap([&](ThreadHeap& heap) NEBULA_UNCHECKED {
    if ((!heap.in_use.load(kRelaxed) && heap.kept_bytes == 0) || !heap.gate.try_lock()) return;
    for (unsigned c = kClassFirst; c < kClassEnd; ++c) sum += (pooled(heap, c) + returns_pooled(heap, c)) * slot_size(size_class(c));
    heap.gate.unlock();
  });
  return sum;
}

unsigned largest_holders(std::span<Holder> result) {
  unsigned count = 0;
  for_each_heap([&](ThreadHeap& heap) {
    if (!heap.in_use.load(kRelaxed)) return;
    std::int64_t bytes = 0;
    for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
      const PoolFacts pool = pool_of(heap, c);
      bytes += static_cast<std::int64_t>(pool.allocations - pool.frees) * static_cast<std::int64_t>(slot_size(size_class(c)));
    }
    if (bytes > 0) keep_largest(result, count, {heap.thread_id.load(kRelaxed), static_cast<std::uint64_t>(bytes)});
  });
  return count;
}

Facts facts() {
  Facts facts;
  facts.threads_started = threads_started.load(kRelaxed);
  facts.threads_now = threads_now.load(kRelaxed);
  for_each_heap([&](ThreadHeap& heap) {
    ++facts.heaps;
    facts.refills += heap.refills;
    facts.flushes += heap.flushes;
  });
  return facts;
}

unsigned heaps_in_use(std::span<HeapFacts> rows, std::uint32_t from) {
  unsigned written = 0;
  for_each_heap([&](const ThreadHeap& heap) {
    if (heap.index < from || written == rows.size() || !heap.in_use.load(kRelaxed)) return;
    rows[written++] = facts_of(heap, [](SizeClass, const PoolFacts&) {});
  });
  return written;
}

}  // namespace nebula::thread_heap
