// All locks of all node heaps; and the child of a fork that could not wait for anybody.
#include "node_heap/node_heap.hpp"
#include "node_heap/tenants.hpp"
#include "spans/frontier.hpp"

namespace nebula {

template <class Visitor>
void NodeHeap::for_each_class_lock(Visitor visit) {
  for (unsigned heap = 0; heap < count(); ++heap) {
    NodeHeap& of = at(static_cast<HeapId>(heap));
    for (unsigned s = 0; s < of.shards(); ++s)
      for (unsigned i = kClassFirst; i < kClassEnd; ++i) visit(of.classes_[s][i].lock);
  }
}

// Tenants' first: while it is held no heap is made.
void NodeHeap::lock_all() NEBULA_UNCHECKED {
  tenants::lock().lock();
  for_each_class_lock([](Lock& lock) NEBULA_UNCHECKED { lock.lock(); });
  for (unsigned heap = 0; heap < count(); ++heap) at(static_cast<HeapId>(heap)).spans().lock_quiet();
}

void NodeHeap::unlock_all() NEBULA_UNCHECKED {
  for (unsigned heap = count(); heap-- > 0;) at(static_cast<HeapId>(heap)).spans().unlock();
  for_each_class_lock([](Lock& lock) NEBULA_UNCHECKED { lock.unlock(); });
  tenants::lock().unlock();
}

void NodeHeap::reset_in_child() {
  if (!tenants::lock().is_mine()) tenants::lock().reset_in_child();
  Depot::reset_in_child();
  for (unsigned heap = 0; heap < count(); ++heap) at(static_cast<HeapId>(heap)).reset_own_in_child();
  frontier.reset_in_child();
}

void NodeHeap::reset_own_in_child() NEBULA_UNCHECKED {
  Halfway halfway = {};
  for (unsigned s = 0; s < shards(); ++s) {
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
      classes_[s][i].purges.forget_in_child();
      Lock& lock = classes_[s][i].lock;
      if (lock.is_mine()) continue;
      halfway[s][i] = lock.is_held();
      lock.reset_in_child();
    }
  }
  rebuild(halfway);
  spans().reset_in_child();
}

// What a thread that is gone was changing is made anew, from what no half-done change can have spoilt: the class map and the
// bitmaps. A slot that it was taking or putting back may be lost.
void NodeHeap::rebuild(const Halfway& halfway) NEBULA_UNCHECKED {
  for (unsigned s = 0; s < shards(); ++s) {
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
      if (!halfway[s][i]) continue;
      Class& of = classes_[s][i];
      for (UnitIndex& list : of.lists) list = kNoUnit;
      bits_[s].spares[i / 64].fetch_and(~(std::uint64_t{1} << i % 64), std::memory_order_relaxed);
      of.facts.slabs = of.facts.empty_slabs = of.facts.slots_outside = 0;
    }
  }
  const std::uint64_t end = heap_map.mapped_units.load(std::memory_order_relaxed);
  for (UnitIndex unit = 0; unit < end; ++unit) {
    const unsigned i = unit_use(unit).load(std::memory_order_relaxed);
    if (!is_size_class(i) || !spans().is_own(region_of(unit))) continue;
    const SizeClass c = size_class(i);
    const UnitIndex first = slab::first_unit(unit, c);
    if (first != unit) {  // the rest of a slab, which was on its way to the spans when its first unit is no more
      if (unit_use(first).load(std::memory_order_relaxed) != index_of(c)) set_nothing(unit, 1, slab::at(first).seen_by);
      continue;
    }
    if (slab::at(unit).is_busy) slab::at(unit).has_holes = true;  // perhaps
    slab::at(unit).is_busy = false;
    const auto s = static_cast<unsigned>(shard_of(home_of(unit, c)));
    if (!halfway[s][i]) continue;
    set_class(unit, units_per_slab(c), c);
    slab::recount(unit);
    ++classes_[s][i].facts.slabs;
    classes_[s][i].facts.slots_outside += slab::at(unit).outside();
    link(classes_[s][i], unit);
  }
}

}  // namespace nebula
