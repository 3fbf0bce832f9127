#include "report/totals.hpp"

#include <atomic>

#include "base/start_data.hpp"
#include "base/units.hpp"
#include "os/process.hpp"
#include "stats/snapshot.hpp"
#include "sync/lock.hpp"

namespace nebula::report {
namespace {

// Several times what a snapshot takes that waits for every lock as long as it may.
constexpr std::uint64_t kPatienceNanoseconds = 1'000'000'000;

// Whose the snapshot is: a thread's token, 0 for nobody's. No Lock, because a handler may come here that interrupted a thread
// which holds some of any rank.
NEBULA_LATER_DATA constinit std::atomic<std::uint32_t> owner{0};
constinit stats::Snapshot snapshot = {};  // too large for a small stack

bool begin() {
  const std::uint32_t me = thread_token();
  const std::uint64_t deadline = os::nanoseconds() + kPatienceNanoseconds;
  for (;;) {
    std::uint32_t nobody = 0;
    // acquire / release: the last owner's snapshot is done with.
    if (owner.compare_exchange_strong(nobody, me, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    if (nobody == me || os::nanoseconds() > deadline) return false;
    os::yield_processor();
  }
}

void end() { owner.store(0, std::memory_order_release); }

void fill(Totals& t, const stats::Snapshot& s) {
  t.at_rest = s.at_rest;
  t.live_bytes = s.total.live_bytes;
  t.pooled_bytes = s.pooled_bytes;
  t.depot_bytes = s.depot_bytes;
  t.slab_free_bytes = s.slab_free_bytes + s.bump.dead_bytes;
  t.dirty_bytes = s.dirty_bytes;
  t.metadata_bytes = s.metadata_bytes;
  // Whoever subtracts one of these from the other must not get below zero.
  t.committed_bytes = s.at_rest ? s.committed_bytes : s.sum_of_lines();
  t.clean_bytes = at_least_zero(s.mapped_bytes, t.committed_bytes);
  t.mapped_bytes = s.mapped_bytes;
  t.committed_peak_bytes = s.committed_peak_bytes;
  t.allocations = s.total.allocations;
  t.frees = s.total.frees;
  t.live_objects = s.total.live;
  t.large_live_bytes = s.large.live_bytes;
  t.large_live_objects = s.large.live;
  t.purges = s.purges.purges;
  t.purged_bytes = s.purges.purged_bytes;
  t.budget_refusals = s.budget.refusals;
  t.system_refusals = s.heap.system_refusals;
  t.double_frees = s.misuse.double_frees;
  t.invalid_frees = s.misuse.invalid_frees;
  t.foreign_pointers = s.misuse.foreign_pointers;
}

}  // namespace

bool take_totals(Totals& totals) {
  const SlowPath slow;  // a handler that comes from here on must not wait for this thread
  if (!begin()) return false;
  stats::take(snapshot, slow.entered() ? stats::Caller::kHoldsNoLock : stats::Caller::kOutsideSlowPath);
  fill(totals, snapshot);
  end();
  return true;
}

Totals totals() {
  Totals totals;
  if (!take_totals(totals)) return {};
  return totals;
}

void reset_totals_in_child() {
  // relaxed: there is one thread.
  if (owner.load(std::memory_order_relaxed) != thread_token()) owner.store(0, std::memory_order_relaxed);
}

}  // namespace nebula::report
