// Slabs that go from one shard to another with what lives in them, so that the heap need not grow for the one while the other has slots
// to spare.
#include "base/units.hpp"
#include "budget/account.hpp"
#include "node_heap/node_heap.hpp"

namespace nebula {
namespace {

constexpr unsigned kLookedAtMost = 8;  // slabs of a list, for one to take over
// Of larger slots a heap has fewer slabs: one that is not taken over weighs more.
constexpr std::size_t kBoundUpTo = kKiB;

}  // namespace

// The lines of what is free in it come from the processor that wrote them last, which takes longer than a new page; and what is taken
// from who needs it again is taken back. So small slots go as seldom as spans of others' regions do, but where there is much: half of what is committed,
// because of a class of which threads allocate and free by turns the others have less than that to spare.
bool NodeHeap::may_take_over(SizeClass c, Shard shard) {
  const auto mine = static_cast<unsigned>(shard);
  return slot_size(c) > kBoundUpTo || spans().may_take_beside(mine) || free_beside(c, mine) > process_account.committed() / 2;
}

// By what the slabs say, whose tails and holes may be clean: rather too much.
std::uint64_t NodeHeap::free_beside(SizeClass c, unsigned mine) const NEBULA_UNCHECKED {
  std::uint64_t slots = 0;
  for (unsigned other = 0; other < shards(); ++other) {
    if (other == mine || !has_begun(static_cast<Shard>(other), c)) continue;
    const ClassFacts& facts = classes_[other][index_of(c)].facts;
    slots += at_least_zero(facts.slabs * slots_per_slab(c), facts.slots_outside);
  }
  return slots * slot_size(c);
}

// From another shard, a slab of which a quarter has come back: that is memory. A tail never used is none, and taking it would
// only make the other ask for a new one.
bool NodeHeap::take_over_slab(SizeClass c, Shard shard) NEBULA_UNCHECKED {
  const auto mine = static_cast<unsigned>(shard);
  for (unsigned other = 0; other < shards(); ++other) {
    if (other == mine || !has_begun(static_cast<Shard>(other), c)) continue;
    // Of two locks of a class, the lower shard's first.
    LockGuard first(classes_[mine < other ? mine : other][index_of(c)].lock);
    LockGuard second(classes_[mine < other ? other : mine][index_of(c)].lock);
    Class& from = classes_[other][index_of(c)];
    Class& to = classes_[mine][index_of(c)];
    for (unsigned list = kEmpty; list > kFullest; --list) {
      unsigned looked_at = 0;
      for (UnitIndex unit = from.lists[list]; unit != kNoUnit && looked_at < kLookedAtMost;
           unit = slab::at(unit).next, ++looked_at) {
        Slab& slab = slab::at(unit);
        if (slab.is_busy || slab.free == 0 || (slab.free < slab.quarter && !slab.is_empty())) continue;
        unlink(from, unit);
        --from.facts.slabs;
        ++to.facts.slabs;
        from.facts.slots_outside -= slab.outside();
        to.facts.slots_outside += slab.outside();
        ++to.facts.takeovers;
        ++to.added;
        slab.home.store(static_cast<std::uint16_t>(home(shard)), std::memory_order_relaxed);
        link(to, unit);
        if (slot_size(c) <= kBoundUpTo) spans().note_taken_beside(mine);
        return true;
      }
    }
  }
  return false;
}

}  // namespace nebula
