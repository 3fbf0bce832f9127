// Memory for what a profile keeps: pieces handed out by moving an atomic mark, charged, never given back, up to a fixed
// bound. No lock, so it may be used by any thread at any time, in a child of fork and in a signal handler too.
#pragma once

#include <cstddef>

namespace nebula::profiling::room {

// Zeroed, at a multiple of 16; null when system, budget or bound refuses. Called with the caller's gate held, so that fork
// waits for it: a child must not find a piece that was mapped and not yet noted.
[[nodiscard]] void* allocate(std::size_t bytes);
// What was handed out last goes back, if nobody has got any since.
void give_back(void* last, std::size_t bytes);

// An object by its distance from the start, in steps of 16 bytes; never 0.
[[nodiscard]] unsigned offset_of(const void* object);
[[nodiscard]] void* at(unsigned offset);

// Bytes handed out so far.
[[nodiscard]] std::size_t used();

}  // namespace nebula::profiling::room
