// What reports have in common: holding everything still, and what the parts of a class add up to.
#pragma once

#include <cstdint>

#include "node_heap/node_heap.hpp"
#include "node_heap/tenants.hpp"
#include "spans/sampled.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula::heap {

// All gates and tenants' lock, as far as each can be had within so many milliseconds: whoever changes anything holds one of them, so the
// numbers are of one moment. Whoever holds this must not allocate.
class AllLocks {
 public:
  enum class Wish { kTake, kLeave };
  explicit AllLocks(unsigned milliseconds, Wish wish = Wish::kTake) {
    if (wish == Wish::kLeave) return;
    lock(milliseconds);
  }
  ~AllLocks() { unlock(); }
  AllLocks(const AllLocks&) = delete;
  AllLocks& operator=(const AllLocks&) = delete;

  [[nodiscard]] bool are_held() const { return are_held_; }

 private:
  void lock(unsigned milliseconds) NEBULA_UNCHECKED {
    has_gates_ = thread_heap::try_lock_all_for(milliseconds);
    are_held_ = has_gates_ && tenants::lock().try_lock_for(milliseconds);
  }
  void unlock() NEBULA_UNCHECKED {
    if (are_held_) tenants::lock().unlock();
    if (has_gates_) thread_heap::unlock_all();
  }

  bool has_gates_ = false;
  bool are_held_ = false;
};

// The program's objects of a class: those in slabs and those that were sampled and lie in none.
struct ClassTotals {
  std::uint64_t allocations = 0;
  std::uint64_t frees = 0;  // without those that were misuse
  std::uint64_t live = 0;
  std::uint64_t sampled_live = 0;  // of these
};
// In running threads pools move between the reads; never below zero.
[[nodiscard]] inline ClassTotals totals_of(const NodeHeap::ClassFacts& facts, const thread_heap::PoolFacts& pools,
                                           const sampled::Counts& sampled) {
  ClassTotals totals;
  totals.allocations = pools.allocations + facts.direct_allocations + sampled.allocations;
  totals.frees = at_least_zero(pools.frees + facts.direct_frees + sampled.frees, facts.dropped);
  totals.sampled_live = sampled.allocations - sampled.frees;
  totals.live = at_least_zero(facts.slots_outside, pools.pooled + facts.in_depots) + totals.sampled_live;
  return totals;
}

}  // namespace nebula::heap
