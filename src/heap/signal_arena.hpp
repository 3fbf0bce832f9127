// Memory for the one caller who may not take a lock: a signal handler that interrupted the allocator itself. One unit of
// the heap, handed out by moving an atomic mark, never reused; and a few places to put pointers that it frees, for the
// next slow path to take up. malloc is not for signal handlers, but it must not hang there.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.hpp"

namespace nebula::signal_arena {

void begin(UnitIndex unit);
[[nodiscard]] void* allocate(std::size_t size);
[[nodiscard]] std::size_t size_of(const void* pointer);

// False when there is no place left: the object is lost.
bool defer_free(void* pointer);
// A pointer put off earlier, or null.
[[nodiscard]] void* take_deferred();

struct Counts {
  std::uint64_t allocations;
  std::uint64_t bytes;
  std::uint64_t deferred;
  std::uint64_t lost;
};
[[nodiscard]] Counts counts();

}  // namespace nebula::signal_arena
