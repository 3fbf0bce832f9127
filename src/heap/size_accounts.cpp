// Limits on sizes, set while there may be objects already: those of constructors that ran before the environment was read.
#include "budget/size_limits.hpp"
#include "heap/heap.hpp"
#include "node_heap/node_heap.hpp"
#include "pages/region.hpp"
#include "spans/frontier.hpp"
#include "spans/large.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula::heap {
namespace {

void charge(Account* account, std::size_t bytes) {
  if (account != nullptr) account->charge_in_any_case(bytes);
}

// Under all gates: what is out of slabs, in pools and depots too, and large objects.
void charge_what_there_is() {
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    charge(size_limits::of_class(c), NodeHeap::facts_of_all(c).slots_outside * slot_size(c));
  }
  for (UnitIndex unit = 0; unit < first_unit_of(frontier.regions()); ++unit) {
    if (unit_use(unit).load(std::memory_order_relaxed) != static_cast<std::uint8_t>(UnitUse::kLargeHead)) continue;
    const std::size_t bytes = large::size_of(unit);
    charge(size_limits::of_large(bytes), bytes);
  }
}

}  // namespace

void set_size_limits(std::span<const config::SizeLimit> limits, config::AtLimit at_limit) {
  const SlowPath slow;
  thread_heap::lock_all();
  size_limits::set(limits, at_limit);
  charge_what_there_is();
  thread_heap::unlock_all();
}

}  // namespace nebula::heap
