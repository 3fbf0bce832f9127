// Memory for the one caller who may not take a lock: a signal handler that interrupted the allocator itself. Objects lie in
// an area of their own beside the heap, handed out by moving an atomic mark, which goes back by the last one when that is
// freed and to the start when none is live; and there are a few places to put pointers that such a handler frees, for the
// next slow path to take up. malloc is not for signal handlers, but it must not hang there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nebula::signal_arena {

// alignment: a power of two. The contents are what the last owner left.
[[nodiscard]] void* allocate(std::size_t size, std::size_t alignment);
[[nodiscard]] bool holds(const void* pointer);
[[nodiscard]] std::size_t size_of(const void* pointer);
void deallocate(void* pointer);

// False when there is no place left: the object is lost.
bool defer_free(void* pointer);
// A pointer put off earlier, or null.
[[nodiscard]] void* take_deferred();

struct Counts {
  std::uint64_t allocations;
  std::uint64_t frees;
  std::uint64_t live_bytes;       // with headers and what was freed below the mark
  std::uint64_t committed_bytes;
  std::uint64_t deferred;
  std::uint64_t lost;
};
[[nodiscard]] Counts counts();

}  // namespace nebula::signal_arena
