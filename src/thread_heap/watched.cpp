// What a thread that a profile watches does more than others: it counts up to its next sample.
#include "profiling/sampler.hpp"
#include "thread_heap/registry.hpp"

namespace nebula::thread_heap {

bool sample_is_due(const ThreadHeap& heap, SizeClass c) {
  constexpr std::uint64_t kTop = (std::uint64_t{1} << kCountOne) - 1;
  return heap.is_watched && (heap.word[kAway + index_of(c)].load(std::memory_order_relaxed) | kTop) >= heap.next_sample[index_of(c)];
}

void* try_pop_own(ThreadHeap& heap, SizeClass c) {
  if (!heap.is_watched || module_limits::are_set()) return nullptr;
  void* const slot = heap.slots()[top_of(heap, kAway + index_of(c))];
  if (slot == nullptr || sample_is_due(heap, c) || !is_own(heap, index_of(c), slot)) return nullptr;
  fast_add<kPop>(heap.word[kAway + index_of(c)]);
  return slot;
}

void draw_next_sample(ThreadHeap& heap, SizeClass c) {
  constexpr std::uint64_t kNever = ~std::uint64_t{0} >> kCountOne;
  const std::uint64_t allocations = heap.word[kAway + index_of(c)].load(std::memory_order_relaxed) >> kCountOne;
  const std::uint64_t distance = profiling::draw_distance(heap.random_state, slot_size(c));
  heap.next_sample[index_of(c)] = (distance > kNever - allocations ? kNever : allocations + distance - 1) << kCountOne;
  if (heap.is_counted) heap.stop[index_of(c)] = heap.next_sample[index_of(c)];
}

}  // namespace nebula::thread_heap
