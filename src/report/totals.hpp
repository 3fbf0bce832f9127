// The sums of a snapshot, for programs that ask for numbers: mallinfo, malloc_info, nebula_statistics_take. They have a snapshot
// of their own, so that nobody waits for a report that is on its way into a file.
#pragma once

#include <cstdint>

namespace nebula::report {

struct Totals {
  bool at_rest = false;  // all locks were held: every number is of one moment
  std::uint64_t live_bytes = 0, pooled_bytes = 0, depot_bytes = 0, slab_free_bytes = 0, dirty_bytes = 0, metadata_bytes = 0;
  std::uint64_t committed_bytes = 0;  // the sum of these
  std::uint64_t clean_bytes = 0;      // mapped and not committed
  std::uint64_t mapped_bytes = 0;
  std::uint64_t committed_peak_bytes = 0;
  std::uint64_t allocations = 0, frees = 0;
  std::uint64_t live_objects = 0;
  std::uint64_t large_live_bytes = 0, large_live_objects = 0;  // of the live ones
  std::uint64_t purges = 0, purged_bytes = 0;
  std::uint64_t budget_refusals = 0, system_refusals = 0;
  std::uint64_t double_frees = 0, invalid_frees = 0, foreign_pointers = 0;
};

// False when this thread was interrupted in here by the very handler that asks, or others are at it for a second.
[[nodiscard]] bool take_totals(Totals& totals);
// The same, zeros for false.
[[nodiscard]] Totals totals();

// In the child of a fork: what another thread was doing here has ended.
void reset_totals_in_child();

}  // namespace nebula::report
