// What a thread that a profile watches does more than others: it counts up to its next sample, and what it freed last becomes what it
// allocates next.
#include <cstring>

#include "profiling/sampler.hpp"
#include "thread_heap/registry.hpp"

namespace nebula::thread_heap {

bool sample_is_due(const ThreadHeap& heap, SizeClass c) { return heap.is_watched && before_sample(heap, index_of(c)) == 0; }

void* advance_and_pop(ThreadHeap& heap, SizeClass c) {
  const unsigned i = index_of(c);
  const unsigned front = kLayout.room[i];
  const unsigned room = limit_of(heap, i);
  const LockGuard guard(heap.gate);
  const std::uint64_t word = heap.word[i].load(std::memory_order_relaxed);
  const std::uint64_t away = heap.word[kAway + i].load(std::memory_order_relaxed);
  const unsigned returned = static_cast<unsigned>(away & 0xffff) - kLayout.swing[i];  // huge where there is no back
  const std::uint64_t most = before_sample(heap, i);
  // relaxed: a reclaim that is not seen yet is answered at the next slow path.
  if ((word & 0xffff) != front || returned > kSizeClasses.slots_per_pool_swing[i] || returned < room / 2 || most == 0 || !is_back(heap) ||
      heap.reclaim_epoch != reclaim_epoch.load(std::memory_order_relaxed) || module_limits::are_set())
    return nullptr;
  unsigned count = returned < room ? returned : room;
  if (most < count) count = static_cast<unsigned>(most);
  void** const from = heap.slots() + (away & 0xffff) - count + 1;
  void** const to = heap.slots() + front + 1;
  std::memcpy(to, from, count * sizeof *to);
  mark_active(heap, i);
  heap.word[kAway + i].store(away - count, std::memory_order_release);
  // The last of them is the answer: all that moves onto the front, less one, and an allocation counted.
  heap.word[i].store(word + count + kPop, std::memory_order_release);
  return to[count - 1];
}

void draw_next_sample(ThreadHeap& heap, SizeClass c) {
  Lots& lots = lots_of(heap);
  lots.next_sample[index_of(c)] =
      allocations(heap, index_of(c)) + profiling::draw_distance(lots.random_state, slot_size(c)) - 1;
}

}  // namespace nebula::thread_heap
