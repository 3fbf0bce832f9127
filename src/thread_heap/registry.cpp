#include "thread_heap/registry.hpp"

#include "base/start_data.hpp"

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

NEBULA_START_DATA constinit std::uint32_t first_free NEBULA_GUARDED_BY(registry_lock) = 0;  // index + 1
NEBULA_START_DATA constinit std::uint32_t idle_heaps NEBULA_GUARDED_BY(registry_lock) = 0;

}  // namespace

std::atomic<std::uint64_t>& ready_word(std::uint32_t word) { return word == 0 ? early_ready : heaps_ready[word]; }

std::atomic<Address>& owner_of(std::uint32_t heap) { return heap < kEarly ? early_owners[heap] : owners[heap]; }

void put_idle(ThreadHeap& heap) {
  LockGuard guard(registry_lock);
  heap.in_use.store(false, kRelaxed);
  heap.next_free = first_free;
  first_free = heap.index + 1;
  ++idle_heaps;
}

std::uint32_t idle_heaps_now() {
  LockGuard guard(registry_lock);
  return idle_heaps;
}

ThreadHeap* take_idle() {
  LockGuard guard(registry_lock);
  if (first_free == 0) return nullptr;
  ThreadHeap& heap = heap_at(first_free - 1);
  first_free = heap.next_free;
  --idle_heaps;
  heap.in_use.store(true, kRelaxed);
  return &heap;
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
  std::uint32_t rest = 0;
  {
    LockGuard guard(registry_lock);
    rest = idle_heaps;
  }
  for (; rest != 0; --rest) {
    ThreadHeap* const heap = take_idle();
    if (heap == nullptr) return;
    thread_heap::flush_all(*heap);
    LockGuard guard(registry_lock);
    heap->in_use.store(false, kRelaxed);
    heap->next_free = 0;
    ++idle_heaps;
    // To the end of the list, so that each is seen once.
    std::uint32_t* link = &first_free;
    while (*link != 0) link = &heap_at(*link - 1).next_free;
    *link = heap->index + 1;
  }
}

}  // namespace nebula
