// What NEBULA_LOCK=1 asks for: all that is mapped here, metadata and heap, stays in memory once it was touched. It is never swapped
// out; purged as ever.
//
// Each new mapping is locked right after it was made, by whoever made it. Whatever the system refuses (RLIMIT_MEMLOCK counts addresses,
// touched or not) stays unlocked, is counted and does no harm. A child of fork has none of its parent's locks, as the kernel
// has it, and takes none itself.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.hpp"

namespace nebula::locking {

// Before there are other threads: locks what was mapped until now, and from then on what comes.
void begin();

// By whoever has mapped it, before others know of it.
void note_mapped(Address where, std::size_t bytes);
// Heap that goes again.
void note_unmapped(Address where, std::size_t bytes);
// Heap that lies in a new mapping, put in place of one that may have been locked.
void note_renewed(Address where, std::size_t bytes);
// Around a move of pages, of both ends: the kernel would count what was locked there twice from then on.
void open_for_move(Address where, std::size_t bytes);
void close_after_move(Address where, std::size_t bytes);

// As os::discard, which the kernel refuses of locked pages. They are locked as before afterwards, if the system lets them.
[[nodiscard]] bool discard(Address where, std::size_t bytes);

void end_in_child();

struct Facts {
  std::uint64_t asked_bytes = 0;
  std::uint64_t obtained_bytes = 0;
  std::uint64_t refusals = 0;
};
[[nodiscard]] Facts facts();

}  // namespace nebula::locking
