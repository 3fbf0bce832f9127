// Pages of slabs that hold nothing while what lives on keeps the slab: they go back where the slab gave nothing between two looks.
//
// A look begins when more than an eighth of the committed bytes is free in slabs and either the program has grown by a sixteenth since
// the last one, so that it uses what it has before it grows, or the purge's delay has passed. It goes on slice by slice at the ends
// of slow paths, each some ten microseconds, by one thread at a time. Not with NEBULA_PURGE=never or NEBULA_RESERVE.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/start_data.hpp"
#include "budget/account.hpp"

namespace nebula::heap::holes {

// Bytes committed from which on there is something to do here; 0 during a look. relaxed: a hint.
extern constinit std::atomic<std::uint64_t> due_at;
[[nodiscard]] inline bool are_due() { return process_account.committed() >= due_at.load(std::memory_order_relaxed); }

// At the end of a slow path, no lock held, when it is due.
void look();
// On a tick of the slow path: whether a look is due by time. No lock held.
void tick();

struct Facts {
  std::uint64_t looks = 0;
  std::uint64_t bytes = 0;  // given back
};
[[nodiscard]] Facts facts();

// In the child of a fork: no other thread looks.
void reset_in_child();

}  // namespace nebula::heap::holes
