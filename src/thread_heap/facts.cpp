// What the thread heaps did, for reports.
#include <utility>

#include "thread_heap/registry.hpp"

namespace nebula::thread_heap {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

PoolFacts pool_facts(SizeClass c) {
  const unsigned i = index_of(c);
  PoolFacts sum;
  for_each_heap([&](ThreadHeap& heap) {
    const std::uint64_t word = heap.word[i].load(kRelaxed);
    const std::uint64_t in_pool = (word & 0xffff) - heap.bottom[i] + returns_pooled(heap, i);
    const std::uint64_t allocations = word >> kCountOne;
    sum.allocations += allocations;
    sum.frees += in_pool + allocations + heap.flushed[i] - heap.refilled[i];
    sum.pooled += in_pool;
  });
  return sum;
}

void read(const Reader& reader) {
  for_each_heap([&](ThreadHeap& heap) {
    HeapFacts sum = {heap.index, heap.thread_id.load(kRelaxed), heap.in_use.load(kRelaxed)};
    sum.refills = heap.refills;
    sum.flushes = heap.flushes;
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
      const std::uint64_t word = heap.word[i].load(kRelaxed);
      const std::uint64_t top = word & 0xffff;
      PoolFacts pool;
      // Without the gate the parts may be of different moments; never below zero.
      pool.pooled = (top > heap.bottom[i] ? top - heap.bottom[i] : 0) + returns_pooled(heap, i);
      pool.allocations = word >> kCountOne;
      const std::uint64_t came = pool.pooled + pool.allocations + heap.flushed[i];
      pool.frees = came > heap.refilled[i] ? came - heap.refilled[i] : 0;
      reader.on_pool(reader.target, size_class(i), pool);
      sum.allocations += pool.allocations;
      sum.frees += pool.frees;
      sum.pooled_bytes += pool.pooled * slot_size(size_class(i));
    }
    reader.on_heap(reader.target, sum);
  });
}

std::uint64_t pooled_bytes_about() NEBULA_UNCHECKED {
  std::uint64_t sum = 0;
  for_each_heap([&](ThreadHeap& heap) NEBULA_UNCHECKED {
    if (!heap.in_use.load(kRelaxed) || !heap.gate.try_lock()) return;
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
      const std::uint64_t held = heap.refilled[c] - heap.flushed[c] - pooled(heap, c) - returns_pooled(heap, c);
      bytes += static_cast<std::int64_t>(held) * static_cast<std::int64_t>(slot_size(size_class(c)));
    }
    if (bytes <= 0) return;
    Holder holder = {heap.thread_id.load(kRelaxed), static_cast<std::uint64_t>(bytes)};
    for (unsigned i = 0; i < count; ++i)
      if (result[i].bytes < holder.bytes) std::swap(result[i], holder);
    if (count < result.size()) result[count++] = holder;
  });
  return count;
}

Facts facts() {
  Facts facts;
  facts.threads_started = threads_started.load(kRelaxed);
  facts.threads_now = threads_now.load(kRelaxed);
  facts.not_watched = threads_not_watched.load(kRelaxed);
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
    HeapFacts& row = rows[written++];
    row = {heap.index, heap.thread_id.load(kRelaxed), true, 0, 0, 0, heap.refills, heap.flushes};
    for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
      const std::uint64_t word = heap.word[c].load(kRelaxed);
      const std::uint64_t in_pool = (word & 0xffff) - heap.bottom[c] + returns_pooled(heap, c);
      const std::uint64_t allocations = word >> kCountOne;
      row.allocations += allocations;
      row.frees += in_pool + allocations + heap.flushed[c] - heap.refilled[c];
      row.pooled_bytes += in_pool * slot_size(size_class(c));
    }
  });
  return written;
}

}  // namespace nebula::thread_heap
