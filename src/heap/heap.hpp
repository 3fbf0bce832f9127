// The facade: what preload/ and the public header call. Fast paths inline, everything else out of line.
//
// No function here touches errno or throws; null is the only failure. Thread-safe. Called in a signal handler that
// interrupted a slow path on the same thread, allocation comes from the signal arena and frees are put off.
#pragma once

#include <cstddef>
#include <cstdint>

#include "size_class/size_class.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula::heap {

// What is left when the fast path has no answer.
[[nodiscard]] void* allocate_slow(std::size_t size);
void deallocate_slow(void* pointer, const char* call);

[[nodiscard]] [[gnu::always_inline]] inline void* allocate(std::size_t size) {
  if (size > kFineMax) [[unlikely]] return allocate_slow(size);
  void* const slot = try_pop(current_heap, (size + kGranule - 1) / kGranule);
  return slot != nullptr ? slot : allocate_slow(size);
}

[[gnu::always_inline]] inline void deallocate(void* pointer, const char* call) {
  if (!try_push(current_heap, pointer)) [[unlikely]] deallocate_slow(pointer, call);
}

[[nodiscard]] void* allocate_zeroed(std::size_t size);
// alignment: a power of two.
[[nodiscard]] void* allocate_aligned(std::size_t size, std::size_t alignment);
// pointer not null, size not 0. Null: the old object is untouched.
[[nodiscard]] void* reallocate(void* pointer, std::size_t size);
[[nodiscard]] std::size_t usable_size(const void* pointer);

// Gives back what can be given back; true when memory was.
bool trim();

// Called once before other threads exist; later calls find it done. False: no address space to be had, every
// allocation will fail.
bool start();
// From then on the heaps of threads that end are used again.
void watch_thread_exits();

// Called, outside all locks, when a request is refused for good by the budget.
using RefusalHandler = void (*)(std::size_t requested_bytes);
void set_refusal_handler(RefusalHandler handler);

// Frees whose pointers came in while their thread was in a slow path.
struct Facts {
  std::uint64_t signal_allocations = 0;
  std::uint64_t signal_frees = 0;
  std::uint64_t signal_bytes = 0;
  std::uint64_t signal_committed_bytes = 0;
  std::uint64_t deferred_frees = 0;
  std::uint64_t lost_frees = 0;  // more were put off than there is room to note
  std::uint64_t soft_crossings = 0;
  std::uint64_t soft_let_go = 0;  // times the work cap stopped a soft reclaim
};
[[nodiscard]] Facts facts();

}  // namespace nebula::heap
