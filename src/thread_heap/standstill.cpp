// All thread heaps at once, for fork and the report; what a fork leaves to its child.
#include "os/process.hpp"
#include "thread_heap/registry.hpp"

namespace nebula::thread_heap {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

void note_fork() {
  if (!is_none(current.heap)) current.heap->thread_id.store(os::thread_id(), kRelaxed);
}

void adopt_after_fork() {
  threads_now.store(is_none(current.heap) ? 0 : 1, kRelaxed);
  for_each_heap([](ThreadHeap& heap) {
    if (&heap == current.heap || !heap.in_use.load(kRelaxed)) return;
    owner_of(heap.index).store(0, kRelaxed);
    {
      LockGuard guard(heap.gate);
      bump::adopt(heap.bump);
    }
    give_up_account(heap);
    (void)put_idle(heap, Pools::kInherited);
  });
  recount_in_child();
}

void lock_all() NEBULA_UNCHECKED {
  registry_lock.lock();
  heapless_gate.lock();
  for_each_heap([](ThreadHeap& heap) NEBULA_UNCHECKED { heap.gate.lock(); });
}

bool try_lock_all_for(unsigned milliseconds) NEBULA_UNCHECKED {
  if (!registry_lock.try_lock_for(milliseconds)) return false;
  bool all = heapless_gate.try_lock_for(milliseconds);
  const bool has_heapless = all;
  std::uint32_t locked = 0;
  for_each_heap([&](ThreadHeap& heap) NEBULA_UNCHECKED {
    if (!all) return;
    if (heap.gate.try_lock_for(milliseconds)) locked = heap.index + 1;
    else all = false;
  });
  if (all) return true;
  for_each_heap([&](ThreadHeap& heap) NEBULA_UNCHECKED {
    if (heap.index < locked) heap.gate.unlock();
  });
  if (has_heapless) heapless_gate.unlock();
  registry_lock.unlock();
  return false;
}

void unlock_all() NEBULA_UNCHECKED {
  for_each_heap([](ThreadHeap& heap) NEBULA_UNCHECKED { heap.gate.unlock(); });
  heapless_gate.unlock();
  registry_lock.unlock();
}

void reset_in_child() {
  for_each_heap([](ThreadHeap& heap) {
    if (!heap.gate.is_mine()) heap.gate.reset_in_child();
  });
  // The heaps of threads that are not here may be in the middle of something: nobody inherits them.
  const auto here = reinterpret_cast<Address>(&current);
  for (std::uint32_t i = 0, end = heaps_end(); i < end; ++i)
    if (owner_of(i).load(kRelaxed) != here) owner_of(i).store(0, kRelaxed);
  if (!heapless_gate.is_mine()) heapless_gate.reset_in_child();
  if (registry_lock.is_mine()) return;
  registry_lock.reset_in_child();
  recount_in_child();
}

}  // namespace nebula::thread_heap
