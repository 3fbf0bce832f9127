// Address space and pages, each kernel call with its errors sorted into the few answers that matter.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.hpp"

namespace nebula::os {

enum class MapResult {
  kMapped,
  kTaken,    // something else lives there: try another place
  kRefused,  // no memory, no address space, or a limit: try less
};

enum class Backing {
  kPages,
  kHugeTlb,  // of 2 MiB each, from the pool that the administrator has made; refused when that has too few
};
// Maps private, zeroed, readable and writable memory at exactly `where`, never over something else.
[[nodiscard]] MapResult map_at(Address where, std::size_t bytes, Backing backing = Backing::kPages);
void unmap(Address where, std::size_t bytes);

// Gives the pages back; they read as zero afterwards. False when the kernel refuses (locked memory): nothing changed.
[[nodiscard]] bool discard(Address where, std::size_t bytes);

// Keeps pages in memory from when they are touched on, until they are discarded, unmapped or unlocked. False: the system refuses.
[[nodiscard]] bool lock_on_fault(Address where, std::size_t bytes);
[[nodiscard]] bool unlock(Address where, std::size_t bytes);
// As discard, of pages that may be locked and stay so. False also where the kernel has no such request (before 5.18).
[[nodiscard]] bool discard_locked(Address where, std::size_t bytes);

// What the kernel may do with pages that nobody uses, other than drop them at once.
enum class Advice : std::uint8_t {
  kNone,
  kFree,     // take them when it is short of memory, and give zeros then, unless they are written before (since 4.5)
  kCold,     // take these before others, with their contents (since 5.4)
  kPageOut,  // swap them out now, if there is swap (since 5.4)
};
// False when the kernel does not know the advice or refuses it (locked memory): nothing changed.
[[nodiscard]] bool advise_idle(Address where, std::size_t bytes, Advice advice);

// Puts fresh memory over what map_at mapped: like discard, and the kernel forgets whatever set this piece apart from its
// neighbours. False when it refuses: nothing changed.
[[nodiscard]] bool map_over(Address where, std::size_t bytes);

enum class HugePages { kWanted, kUnwanted };
// A hint; false when the kernel has no huge pages or refuses.
bool advise_huge_pages(Address where, std::size_t bytes, HugePages wish);

enum class PopulateResult {
  kDone,
  kUnknown,  // the kernel has no such request (before 5.14), or it is forbidden: whoever wants the pages touches them
  kRefused,  // touching the pages would end in a signal
};
// Makes pages of map_at's resident, as if each were written.
[[nodiscard]] PopulateResult populate(Address where, std::size_t bytes);

// Moves the pages of [from, from + bytes) to [to, to + bytes), both mapped by map_at; whatever was at `to` is dropped,
// `from` stays mapped and reads as zero. False when the kernel cannot (before 5.7, or refused): nothing changed.
[[nodiscard]] bool move_pages(Address from, Address to, std::size_t bytes);

// Whether the 8 bytes at this address (a multiple of 8) can be read without a fault that kills.
[[nodiscard]] bool is_readable(Address where);

// Where the heap that brk moves ends; 0 when the kernel does not say.
[[nodiscard]] Address program_break();

// "always", "madvise" or "never" as /sys has it; "unknown" where that cannot be read. Read at the start, because a program
// that has entered a sandbox may not open files.
void read_huge_page_mode();
[[nodiscard]] const char* huge_page_mode();

}  // namespace nebula::os
