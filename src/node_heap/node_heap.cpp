#include "node_heap/node_heap.hpp"

#include "base/bits.hpp"
#include "budget/usage.hpp"
#include "diag/misuse.hpp"

namespace nebula {

constinit NodeHeap node_heap;

namespace {

constexpr std::uint32_t kEmptySlabsKept = 1;

}  // namespace

unsigned NodeHeap::refill(SizeClass c, void** end, unsigned wanted, unsigned room, Source source) {
  if (source == Source::kDepotFirst) {
    unsigned got = 0;
    while (got < wanted) {
      const unsigned batch = depot(c).withdraw(c, end - got, room - got);
      if (batch == 0) break;
      got += batch;
    }
    if (got != 0) {
      if (depot(c).wants_more()) [[unlikely]] {
        Class& of = classes_[index_of(c)];
        LockGuard guard(of.lock);
        depot(c).grow_within(of.facts.slots_outside * slot_size(c) / 8);
      }
      return got;
    }
  }
  return take_from_slabs(c, end, wanted, room);
}

unsigned NodeHeap::take_from_slabs(SizeClass c, void** end, unsigned wanted, unsigned room) {
  Class& of = classes_[index_of(c)];
  for (;;) {
    {
      LockGuard guard(of.lock);
      unsigned got = 0;
      for (unsigned list = kFullest; list < kListEnd && got < wanted; ++list) {
        // One that gives nothing (the budget refuses its next page, or its tail is being purged) is passed by.
        for (UnitIndex unit = of.lists[list]; unit != kNoUnit && got < wanted;) {
          const UnitIndex next = slab::at(unit).next;
          got += slab::take(unit, end - got, wanted - got, room - got);
          relink(of, unit);
          unit = next;
        }
      }
      if (got != 0) {
        ++of.facts.refills;
        of.facts.slots_outside += got;
        if (of.facts.slots_outside > of.facts.slots_outside_peak)
          of.facts.slots_outside_peak = of.facts.slots_outside;
        bytes_in_use.add(got * slot_size(c));
        return got;
      }
    }
    if (!add_slab(c)) return 0;
  }
}

// Without the class's lock: the span heap may go to the system. Two threads may each add one; neither is lost.
bool NodeHeap::add_slab(SizeClass c) {
  const Units units = {units_per_slab(c)};
  const UnitIndex first = spans_.take(units, units);
  if (first == kNoUnit) return false;
  // A slab whose first slot the budget refuses would be taken and given back for ever.
  if (!pages::commit({first_page_of(first), pages_for(slot_size(c))}, slab::reserve_for(c))) {
    spans_.give_back(first, units);
    return false;
  }
  slab::begin(first, c);
  Class& of = classes_[index_of(c)];
  LockGuard guard(of.lock);
  for (std::size_t i = 0; i < units.count; ++i)
    unit_use(first + i).store(static_cast<std::uint8_t>(index_of(c)), std::memory_order_relaxed);
  ++of.facts.slabs;
  link(of, first);
  return true;
}

void NodeHeap::link(Class& of, UnitIndex unit) {
  Slab& slab = slab::at(unit);
  const unsigned available = slab.available();
  if (available == 0) {
    slab.list = kUnlisted;
    return;
  }
  slab.list = slab.is_empty() ? std::uint8_t{kEmpty} : static_cast<std::uint8_t>(kFullest + (available - 1) / slab.quarter);
  if (slab.list == kEmpty) ++of.empty_slabs;
  slab.previous = kNoUnit;
  slab.next = of.lists[slab.list];
  if (slab.next != kNoUnit) slab::at(slab.next).previous = unit;
  of.lists[slab.list] = unit;
}

void NodeHeap::unlink(Class& of, UnitIndex unit) {
  Slab& slab = slab::at(unit);
  if (slab.list == kUnlisted) return;
  if (slab.list == kEmpty) --of.empty_slabs;
  if (slab.previous != kNoUnit) slab::at(slab.previous).next = slab.next;
  else of.lists[slab.list] = slab.next;
  if (slab.next != kNoUnit) slab::at(slab.next).previous = slab.previous;
  slab.list = kUnlisted;
}

// After slots were taken or came back: into the list where it belongs now, or back to the spans.
void NodeHeap::relink(Class& of, UnitIndex unit) {
  Slab& slab = slab::at(unit);
  const unsigned available = slab.available();
  const unsigned below = (slab.list - unsigned{kFullest}) * slab.quarter;  // what the list before it goes up to
  if (slab.list - unsigned{kFullest} < kEmpty - kFullest && !slab.is_empty() && available - below - 1 < slab.quarter)
    return;
  unlink(of, unit);
  if (slab.is_empty() && slab.bump != 0 && of.empty_slabs >= kEmptySlabsKept && !slab.tail_is_busy) {
    release(of, unit);
    return;
  }
  link(of, unit);
}

void NodeHeap::release(Class& of, UnitIndex unit) {
  const Units units = {units_per_slab(slab::at(unit).size_class)};
  for (std::size_t i = 0; i < units.count; ++i)
    unit_use(unit + i).store(static_cast<std::uint8_t>(UnitUse::kNothing), std::memory_order_relaxed);
  --of.facts.slabs;
  spans_.give_back(unit, units);
}

void NodeHeap::flush(SizeClass c, void* const* slots, unsigned count, Source source, const char* call) {
  if (source == Source::kDepotFirst) {
    const unsigned batch = kSizeClasses.batch[index_of(c)];
    while (count >= batch && depot(c).deposit(c, slots, batch)) {
      slots += batch;
      count -= batch;
    }
  }
  while (count != 0) {
    slab::Returned verdict = slab::Returned::kBack;
    const unsigned done = put_back_until_misuse(c, slots, count, verdict);
    slots += done;
    count -= done;
    if (count == 0) return;
    // *slots is the program's error. Said without a lock held.
    const void* const pointer = *slots;
    ++slots;
    --count;
    const UnitIndex unit = slab::first_unit(static_cast<UnitIndex>(unit_of(pointer)), c);
    const std::size_t offset = reinterpret_cast<Address>(pointer) - address_of_unit(unit);
    const unsigned slot = slot_at(c, offset);
    switch (verdict) {
      case slab::Returned::kDoubleFree: misuse::double_free_of_slot(pointer, slot, slot_size(c), call); break;
      case slab::Returned::kInterior:
        misuse::interior_of_slot(pointer, slot, slot_size(c), offset - slot * slot_size(c), call);
        break;
      case slab::Returned::kNeverAllocated: misuse::never_allocated_slot(pointer, slot, slot_size(c), call); break;
      case slab::Returned::kBack: misuse::no_object(pointer, call); break;  // its slab is gone
    }
  }
}

// Returns how many went back before the first that is no slot to put back; that one is counted as dropped, and `verdict`
// says why (kBack: the slab does not exist any more).
unsigned NodeHeap::put_back_until_misuse(SizeClass c, void* const* slots, unsigned count, slab::Returned& verdict) {
  Class& of = classes_[index_of(c)];
  LockGuard guard(of.lock);
  unsigned done = 0;
  verdict = slab::Returned::kBack;
  while (done < count && verdict == slab::Returned::kBack) {
    const auto raw = static_cast<UnitIndex>(unit_of(slots[done]));
    if (unit_use(raw).load(std::memory_order_relaxed) != index_of(c)) break;
    const UnitIndex unit = slab::first_unit(raw, c);
    // Neighbours in the pool are often neighbours in memory: as many as lie in the same slab.
    done += slab::put_back(unit, c, slots + done, count - done, verdict);
    relink(of, unit);
  }
  if (done != count) ++of.facts.dropped;
  ++of.facts.flushes;
  of.facts.slots_outside -= done;
  bytes_in_use.subtract(done * slot_size(c));
  return done;
}

void NodeHeap::count_direct_allocation(SizeClass c) {
  Class& of = classes_[index_of(c)];
  LockGuard guard(of.lock);
  ++of.facts.direct_allocations;
}

void NodeHeap::count_direct_free(SizeClass c) {
  Class& of = classes_[index_of(c)];
  LockGuard guard(of.lock);
  ++of.facts.direct_frees;
}

void NodeHeap::drain(SizeClass c) {
  void* slots[kBatchMost];
  while (const unsigned count = depot(c).withdraw(c, slots + kBatchMost, kBatchMost))
    flush(c, slots + kBatchMost - count, count, Source::kSlabsOnly, "free");
}

void NodeHeap::drain_depots(Depots which) {
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    if (depot(c).slots() == 0) continue;
    if (which == Depots::kIdle) {
      Class& of = classes_[i];
      LockGuard guard(of.lock);
      const std::uint64_t now = depot(c).withdrawals();
      const bool busy = now != of.withdrawals_seen;
      of.withdrawals_seen = now;
      if (busy) continue;
      depot(c).start_again();
    }
    drain(c);
  }
}

void NodeHeap::release_empty_slabs() {
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    Class& of = classes_[i];
    LockGuard guard(of.lock);
    UnitIndex unit = of.lists[kEmpty];
    while (unit != kNoUnit) {
      const UnitIndex next = slab::at(unit).next;
      if (!slab::at(unit).tail_is_busy) {
        unlink(of, unit);
        release(of, unit);
      }
      unit = next;
    }
  }
}

std::size_t NodeHeap::purge_slab_tails() {
  std::size_t purged = 0;
  const std::uint64_t end = heap_map.mapped_units.load(std::memory_order_relaxed);
  for (UnitIndex unit = 0; unit < end; ++unit) {
    const unsigned i = unit_use(unit).load(std::memory_order_relaxed);
    if (is_size_class(i) && slab::first_unit(unit, size_class(i)) == unit) purged += purge_tail_of(unit, size_class(i));
  }
  return purged;
}

// The pages behind the mark, and behind the last slot.
std::size_t NodeHeap::purge_tail_of(UnitIndex unit, SizeClass c) {
  Class& of = classes_[index_of(c)];
  pages::Range tail;
  {
    LockGuard guard(of.lock);
    // Under the lock a unit of the class is a slab of it.
    if (unit_use(unit).load(std::memory_order_relaxed) != index_of(c) || slab::at(unit).tail_is_busy) return 0;
    const pages::Range used = slab::committed_range(unit);
    tail = {used.first + used.count.count, Pages{units_per_slab(c) * std::size_t{kPagesPerUnit}} - used.count};
    if (pages::committed_in(tail).count == 0) return 0;
    slab::at(unit).tail_is_busy = true;
  }
  const std::size_t bytes = pages::committed_in(tail).bytes();
  const bool done = pages::purge(tail);
  LockGuard guard(of.lock);
  slab::at(unit).tail_is_busy = false;
  relink(of, unit);
  return done ? bytes : 0;
}

NodeHeap::ClassFacts NodeHeap::facts(SizeClass c) const NEBULA_UNCHECKED {
  ClassFacts facts = classes_[index_of(c)].facts;
  facts.contended = classes_[index_of(c)].lock.contended();
  return facts;
}

void NodeHeap::lock_all() NEBULA_UNCHECKED {
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) classes_[i].lock.lock();
  spans_.lock_quiet();
}

bool NodeHeap::try_lock_all_for(unsigned milliseconds) NEBULA_UNCHECKED {
  unsigned locked = kClassFirst;
  while (locked < kClassEnd && classes_[locked].lock.try_lock_for(milliseconds)) ++locked;
  if (locked == kClassEnd && spans_.lock().try_lock_for(milliseconds)) return true;
  while (locked > kClassFirst) classes_[--locked].lock.unlock();
  return false;
}

void NodeHeap::unlock_all() NEBULA_UNCHECKED {
  spans_.lock().unlock();
  for (unsigned i = kClassEnd - 1; i >= kClassFirst; --i) classes_[i].lock.unlock();
}

void NodeHeap::reset_in_child() {
  Depot::reset_in_child();
  for (unsigned i = kClassFirst; i < kClassEnd; ++i)
    if (!classes_[i].lock.is_mine()) classes_[i].lock.reset_in_child();
  spans_.reset_in_child();
}

}  // namespace nebula
