// What those hear who listen: that a limit was crossed, a request refused, memory given back, something to log done. It is noted inside
// slow paths, under locks, and told at the end of the next one, outside of it and of all locks, because whoever listens
// takes locks and writes files.
#pragma once

#include <cstdint>

#include "heap/reclaim.hpp"

namespace nebula::heap::news {

// Both outside the slow path.
void tell();
void note_refusal(const Request& request);

[[nodiscard]] std::uint64_t system_refusals();

}  // namespace nebula::heap::news
