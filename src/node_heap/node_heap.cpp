#include "node_heap/node_heap.hpp"

#include <bit>
#include <iterator>

#include "base/bits.hpp"
#include "base/start_data.hpp"
#include "budget/size_limits.hpp"
#include "budget/usage.hpp"
#include "diag/misuse.hpp"
#include "node_heap/tenants.hpp"
#include "spans/frontier.hpp"

namespace nebula {

constinit NodeHeap node_heap;
NEBULA_START_DATA constinit unsigned NodeHeap::shard_mask_ = kShards - 1;
constinit SpanHeap::Room NodeHeap::first_room_;
constinit SpanHeap NodeHeap::first_spans_{first_room_};
NEBULA_START_DATA constinit std::atomic<unsigned> NodeHeap::last_shard_{0};
constinit std::atomic<unsigned> NodeHeap::heaps_{1};
constinit std::atomic<unsigned> NodeHeap::places_{1};

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

constexpr NodeHeap::Shard kFirstShard{0};

static_assert(sizeof(NodeHeap) % alignof(SpanHeap) == 0);
static_assert(sizeof(NodeHeap) + SpanHeap::bytes() <= kNodeHeapBytes);
static_assert(kAway == kUnitUses);
static_assert(kAway + kClassEnd <= 0x100, "a view has a byte for a unit");

// How many slots the account of the class's size has room for: those wanted and what a slab may add to them, or fewer down to
// one. They are charged.
unsigned charge_slots(SizeClass c, unsigned wanted, unsigned room) {
  constexpr unsigned kAddedMost = kCacheLine / kGranule;
  Account* const account = size_limits::of_class(c);
  if (account == nullptr) return room;
  const unsigned most = room < wanted + kAddedMost ? room : wanted + kAddedMost;
  if (account->try_charge(most * slot_size(c))) return most;
  for (unsigned count = wanted; count != 0; count /= 2)
    if (account->try_charge(count * slot_size(c))) return count;
  return 0;
}

void credit_slots(SizeClass c, unsigned count) {
  if (Account* const account = size_limits::of_class(c)) account->credit(count * slot_size(c));
}

}  // namespace

void NodeHeap::set_processors(unsigned processors) {
  const unsigned shards = std::bit_ceil(processors == 0 ? 1u : processors);
  shard_mask_ = (shards < kShards ? shards : kShards) - 1;
  SpanHeap::set_keeper([](HeapId heap) { return at(heap).release_spare_slabs(); });
}

// The home to lock for the slab of class c that a unit lies in, as far as can be told without that lock.
NodeHeap::Home NodeHeap::home_of(UnitIndex unit, SizeClass c) {
  if (!slab::is_of_class(unit, c)) return node_heap.home(kFirstShard);
  // acquire: pairs with the release in add_slab; see is_guarded.
  return static_cast<Home>(slab::at(slab::first_unit(unit, c)).home.load(std::memory_order_acquire));
}

void NodeHeap::begin(Shard shard, SizeClass c) {
  if (has_begun(shard, c)) [[likely]] return;
  bits_[static_cast<unsigned>(shard)].begun[index_of(c) / 64].fetch_or(std::uint64_t{1} << index_of(c) % 64, kRelaxed);
}

// The unit may have become another class's between the two looks of home_of, or be none's.
NodeHeap::Home NodeHeap::home_to_use(UnitIndex unit, SizeClass c) {
  const Home home = home_of(unit, c);
  heap_of(home).begin(shard_of(home), c);
  return home;
}

// Under the lock of the class in a home: whether the unit lies in one of its slabs. The home is read before the class: a
// unit that another thread is just making a slab of this home has lost its old class by then and gets the new one under the
// lock held here.
bool NodeHeap::is_guarded(UnitIndex unit, SizeClass c, Home home) {
  const std::uint16_t found = slab::at(slab::first_unit(unit, c)).home.load(std::memory_order_acquire);
  return found == static_cast<std::uint16_t>(home) && slab::is_of_class(unit, c);
}

bool NodeHeap::is_of_shard(SizeClass c, const void* slot, Shard shard) const {
  return home_of(static_cast<UnitIndex>(unit_of(slot)), c) == home(own(shard));
}

HeapId NodeHeap::heap_of_slab(UnitIndex unit, SizeClass c) { return heap_of(home_of(unit, c)).id_; }

void NodeHeap::set_in_views(std::size_t unit, std::uint8_t in_own, std::uint8_t in_others) const {
  // Relaxed, like the class map: set before a pointer into the unit is handed out.
  const unsigned whole = pages::whole_views.load(std::memory_order_relaxed);
  for (unsigned heap = 0; heap < whole; ++heap)
    view_of(static_cast<HeapId>(heap))[unit].store(heap == id_ ? in_own : in_others, std::memory_order_relaxed);
  if (is_tenants()) view_of(id_)[unit].store(in_own, std::memory_order_relaxed);
  if (pages::has_view_of_none.load(std::memory_order_relaxed)) view_of(kHeapOfNone)[unit].store(in_others, std::memory_order_relaxed);
}

// Both so that a thread whose fork leaves them halfway leaves no view with what the class map has not.
void NodeHeap::set_class(UnitIndex first, std::size_t units, SizeClass c) const {
  const auto own = static_cast<std::uint8_t>(index_of(c));
  for (std::size_t unit = first; unit < first + units; ++unit) {
    unit_use(unit).store(own, std::memory_order_relaxed);
    set_in_views(unit, own, static_cast<std::uint8_t>(kAway + own));
  }
}

void NodeHeap::set_nothing(UnitIndex first, std::size_t units, std::uint64_t seen_by) const {
  constexpr auto kNothing = static_cast<std::uint8_t>(UnitUse::kNothing);
  for (std::size_t unit = first; unit < first + units; ++unit) {
    set_in_views(unit, kNothing, kNothing);
    for (std::uint64_t bits = seen_by; bits != 0; bits &= bits - 1)
      for (auto heap = static_cast<unsigned>(std::countr_zero(bits)); heap < count(); heap += 64)
        if (heap >= places()) view_of(static_cast<HeapId>(heap))[unit].store(kNothing, std::memory_order_relaxed);
    unit_use(unit).store(kNothing, std::memory_order_relaxed);
  }
}

// Under the lock of the slab, so that it is one, and whoever ends it knows who sees it.
void NodeHeap::show_slab(UnitIndex unit, SizeClass c) const {
  const Home home = home_to_use(unit, c);
  LockGuard guard(class_at(home, c).lock);
  if (!is_guarded(unit, c, home)) return;
  const UnitIndex first = slab::first_unit(unit, c);
  slab::at(first).seen_by |= std::uint64_t{1} << (id_ % 64);
  for (UnitIndex seen = first; seen < first + units_per_slab(c); ++seen)
    view_of(id_)[seen].store(static_cast<std::uint8_t>(kAway + index_of(c)), std::memory_order_relaxed);
}

void NodeHeap::set_helpers(const HeapId* helpers, unsigned count) {
  helpers_count_ = static_cast<std::uint8_t>(count);
  for (unsigned i = 0; i < count; ++i) helpers_[i] = helpers[i];
}

static_assert(Gauge::kPartsMost == NodeHeap::kShards && Gauge::kPartsMost == SpanHeap::kPartsMost);

void NodeHeap::open(Shard shard) {
  const auto last = static_cast<unsigned>(shard);
  const unsigned first = last_shard_.load(std::memory_order_relaxed) + 1;
  for (unsigned place = 0; place < places(); ++place) at(static_cast<HeapId>(place)).spans().open_parts(last + 1);
  if (last >= first) last_shard_.store(last, std::memory_order_relaxed);
  bytes_in_use.set_parts(last + 1);
}

unsigned NodeHeap::refill(SizeClass c, void** end, unsigned wanted, unsigned room, Source source, Shard shard) {
  if (const unsigned got = refill_from_own(c, end, wanted, room, source, shard, Memory::kAny)) return got;
  unsigned got = 0;
  ask_helpers([&](NodeHeap& helper) {
    got = helper.refill_from_own(c, end, wanted, room, source, shard, Memory::kAny);
    return got != 0;
  });
  return got;
}

unsigned NodeHeap::refill_from_shard(SizeClass c, void** end, unsigned wanted, unsigned room, Source source, Shard shard) {
  return refill_from_own(c, end, wanted, room, source, shard, Memory::kOfShard);
}

bool NodeHeap::next_helper(unsigned& i, NodeHeap*& result) const {
  const NodeHeap& here = at(place_);
  for (; i < here.helpers_count_; ++i) {
    const HeapId place = here.helpers_[i];
    const HeapId helper = is_tenants() ? tenants::helper_of(id_, place) : place;
    if (helper == kNoHeap) continue;
    ++i;
    result = &at(helper);
    return true;
  }
  return false;
}

// For the account: it was met, and somebody else helps out.
void NodeHeap::count_fallback(Account* refusing) {
  fallbacks_.fetch_add(1, std::memory_order_relaxed);
  if (refusing == nullptr || refusing->kind() != config::AccountKind::kNode) return;
  refusing->count_hit();
  refusing->note_hard_limit();
}

unsigned NodeHeap::refill_from_own(SizeClass c, void** end, unsigned wanted, unsigned room, Source source, Shard threads_shard,
                                   Memory memory) {
  const Shard shard = own(threads_shard);
  if (source == Source::kDepotFirst)
    if (const unsigned got = take_from_depot(c, end, wanted, room, shard)) return got;
  unsigned got = 0;
  if (const unsigned charged = charge_slots(c, wanted, room)) {
    got = take_from_any_slab(c, end, wanted < charged ? wanted : charged, charged, shard, memory);
    credit_slots(c, charged - got);
  }
  if (memory == Memory::kOfShard) return got;
  // No more memory to be had: what waits in depots, which is charged already.
  for (unsigned s = 0; got == 0 && s < shards(); ++s) got = take_from_depot(c, end, wanted, room, static_cast<Shard>(s));
  return got;
}

unsigned NodeHeap::take_from_any_slab(SizeClass c, void** end, unsigned wanted, unsigned room, Shard shard, Memory memory) {
  const Units units = {units_per_slab(c)};
  begin(shard, c);
  std::uint32_t added = 0;
  for (bool has_taken_over = false;;) {
    if (const unsigned got = take_from_slabs(c, end, wanted, room, shard, added)) return got;
    if (add_slab(c, shard, take_spare_slab(units, shard), added)) continue;
    if (memory == Memory::kOfShard) return 0;
    if (add_slab(c, shard, take_span(units, shard, From::kDirty), added)) continue;
    // One: at a limit it may have but holes to give, and two threads must not take theirs from each other for ever.
    if (!has_taken_over && may_take_over(c, shard) && take_over_slab(c, shard)) has_taken_over = true;
    else if (!add_slab(c, shard, take_span(units, shard, From::kAny), added)) break;
  }
  unsigned got = 0;
  for (unsigned s = 0; got == 0 && s < shards(); ++s)
    if (has_begun(static_cast<Shard>(s), c)) got = take_from_slabs(c, end, wanted, room, static_cast<Shard>(s), added);
  return got;
}

bool NodeHeap::has_free_slots(SizeClass c, Shard threads_shard) {
  const Shard shard = own(threads_shard);
  begin(shard, c);
  if (depot(shard, c).slots(c) != 0) return true;
  {
    Class& of = class_of(shard, c);
    LockGuard guard(of.lock);
    for (unsigned list = kFullest; list < kListEnd; ++list)
      if (of.lists[list] != kNoUnit) return true;
  }
  return take_over_slab(c, shard);
}

unsigned NodeHeap::take_from_depot(SizeClass c, void** end, unsigned wanted, unsigned room, Shard shard) {
  Depot& from = depot(shard, c);
  unsigned got = 0;
  while (got < wanted) {
    const unsigned batch = from.withdraw(c, end - got, room - got);
    if (batch == 0) break;
    got += batch;
  }
  if (got != 0 && from.wants_more()) [[unlikely]] {
    Class& of = class_of(shard, c);
    LockGuard guard(of.lock);
    from.grow_within(of.facts.slots_outside * slot_size(c) / 8);
  }
  return got;
}

unsigned NodeHeap::take_from_slabs(SizeClass c, void** end, unsigned wanted, unsigned room, Shard shard, std::uint32_t& added) {
  Class& of = class_of(shard, c);
  bytes_in_use.expect(static_cast<unsigned>(shard));
  LockGuard guard(of.lock);
  unsigned got = 0;
  for (unsigned list = kFullest; list < kListEnd && got < wanted; ++list) {
    // One that gives nothing (the budget refuses its next page, or pages of it are being purged) is passed by.
    for (UnitIndex unit = of.lists[list]; unit != kNoUnit && got < wanted;) {
      const UnitIndex next = slab::at(unit).next;
      got += slab::take(unit, end - got, wanted - got, room - got);
      relink(of, unit);
      unit = next;
    }
  }
  if (got == 0) {
    added = of.added;
    return 0;
  }
  ++of.facts.refills;
  of.facts.slots_outside += got;
  bytes_in_use.add(got * slot_size(c), static_cast<unsigned>(shard));
  return got;
}

// Calls visit(class) for each that has an empty slab in the shard, until it answers true.
template <class Visit>
bool NodeHeap::find_class_with_spares(Shard shard, Visit visit) {
  ClassBits& of = bits_[static_cast<unsigned>(shard)];
  for (unsigned word = 0; word < std::size(of.spares); ++word)
    for (std::uint64_t bits = of.spares[word].load(kRelaxed); bits != 0; bits &= bits - 1)
      if (visit(size_class(word * 64 + static_cast<unsigned>(std::countr_zero(bits))))) return true;
  return false;
}

// An empty slab of another class, which ends. One in another part's region goes back there: with each change of its class this shard and
// the others would write to one line of the class map. Not where memory is short: then it would come from there at once.
UnitIndex NodeHeap::take_spare_slab(Units units, Shard shard) {
  UnitIndex unit = kNoUnit;
  find_class_with_spares(shard, [&](SizeClass c) {
    if (units_per_slab(c) != units.count) return false;
    Class& of = class_of(shard, c);
    LockGuard guard(of.lock);
    while ((unit = unlink_spare(of)) != kNoUnit) {
      if (spans().is_of_part(unit, static_cast<unsigned>(shard)) || spans().is_memory_short()) break;
      release(of, unit);
    }
    if (unit != kNoUnit) end_slab(of, unit);
    return unit != kNoUnit;
  });
  return unit;
}

// The shard's spares of other lengths go to the spans before, where they lie in front then.
UnitIndex NodeHeap::take_span(Units units, Shard shard, From from) {
  release_spare_slabs_of(shard);
  return spans().take(units, units, from, static_cast<unsigned>(shard));
}

bool NodeHeap::was_given_slabs(SizeClass c, Shard shard, std::uint32_t added) {
  Class& of = class_of(shard, c);
  LockGuard guard(of.lock);
  return of.added != added;
}

// Memory is had, and committed, without the class's lock. Many threads may have waited for it while one grew the heap: the first slab is for
// all of them. Whoever goes on without his has seen another's come, so nobody goes round for ever.
bool NodeHeap::add_slab(SizeClass c, Shard shard, UnitIndex first, std::uint32_t added) {
  if (first == kNoUnit) return false;
  const Units units = {units_per_slab(c)};
  if (was_given_slabs(c, shard, added)) {
    spans().give_back(first, units);
    return true;
  }
  // A slab whose first slot the budget refuses would be taken and given back for ever.
  if (!pages::commit({first_page_of(first), pages_for(slot_size(c))}, slab::reserve_for(c))) {
    spans().give_back(first, units);
    return false;
  }
  slab::begin(first, c);
  // release: whoever reads it sees that the unit has lost its last class.
  slab::at(first).home.store(static_cast<std::uint16_t>(home(shard)), std::memory_order_release);
  Class& of = class_of(shard, c);
  {
    LockGuard guard(of.lock);
    if (of.added == added) {
      set_class(first, units.count, c);
      ++of.facts.slabs;
      ++of.added;
      link(of, first);
      return true;
    }
  }
  spans().give_back(first, units);
  return true;
}

void NodeHeap::link(Class& of, UnitIndex unit) {
  Slab& slab = slab::at(unit);
  const unsigned available = slab.available();
  if (available == 0) {
    slab.list = kUnlisted;
    return;
  }
  if (slab.is_empty()) slab.list = kEmpty;
  else if (slab.has_holes) slab.list = kWithHoles;
  else slab.list = static_cast<std::uint8_t>(kFullest + (available - 1) / slab.quarter);
  if (slab.list == kEmpty) count_empty(of, unit, 1);
  slab.previous = kNoUnit;
  slab.next = of.lists[slab.list];
  if (slab.next != kNoUnit) slab::at(slab.next).previous = unit;
  of.lists[slab.list] = unit;
}

void NodeHeap::unlink(Class& of, UnitIndex unit) {
  Slab& slab = slab::at(unit);
  if (slab.list == kUnlisted) return;
  if (slab.list == kEmpty) count_empty(of, unit, -1);
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
  if (slab.list - unsigned{kFullest} < kWithHoles - kFullest && !slab.is_empty() && available - below - 1 < slab.quarter)
    return;
  unlink(of, unit);
  link(of, unit);
}

void NodeHeap::count_empty(Class& of, UnitIndex unit, int change) {
  of.facts.empty_slabs += static_cast<std::uint64_t>(change);
  if (of.facts.empty_slabs != (change > 0 ? 1 : 0)) return;
  const Slab& slab = slab::at(unit);
  const unsigned i = index_of(slab.size_class);
  std::atomic<std::uint64_t>& word = bits_[static_cast<unsigned>(shard_of(static_cast<Home>(slab.home.load(kRelaxed))))].spares[i / 64];
  word.fetch_xor(std::uint64_t{1} << i % 64, kRelaxed);
}

UnitIndex NodeHeap::unlink_spare(Class& of) {
  UnitIndex unit = of.lists[kEmpty];
  // One just made is about to be taken from.
  while (unit != kNoUnit && (slab::at(unit).bump == 0 || slab::at(unit).is_busy)) unit = slab::at(unit).next;
  if (unit != kNoUnit) unlink(of, unit);
  return unit;
}

void NodeHeap::end_slab(Class& of, UnitIndex unit) {
  const Slab& slab = slab::at(unit);
  set_nothing(unit, units_per_slab(slab.size_class), slab.seen_by);
  --of.facts.slabs;
}

void NodeHeap::release(Class& of, UnitIndex unit) {
  end_slab(of, unit);
  spans().give_back(unit, {units_per_slab(slab::at(unit).size_class)});
}

void NodeHeap::flush(SizeClass c, void* const* slots, unsigned count, Source source, const char* call) {
  if (source == Source::kDepotFirst) {
    const unsigned batch = kSizeClasses.batch[index_of(c)];
    // A batch waits where its first slot is at home: what one thread hands to another comes back to it.
    while (count >= batch) {
      const Home home = home_to_use(static_cast<UnitIndex>(unit_of(*slots)), c);
      if (heap_of(home).has_depots_ == HasDepots::kNo || !heap_of(home).depot(shard_of(home), c).deposit(c, slots)) break;
      slots += batch;
      count -= batch;
    }
  }
  Later later[2];
  put_back(c, slots, count, later[0], call);
  for (unsigned turn = 0; later[turn].count != 0; turn = 1 - turn) {
    later[1 - turn].count = 0;
    put_back(c, later[turn].slots, later[turn].count, later[1 - turn], call);
  }
}

// One shard's lock after the other, until every slot is back or in `later`.
void NodeHeap::put_back(SizeClass c, void* const* slots, unsigned count, Later& later, const char* call) {
  while (count != 0) {
    const PutBack result = put_back_under_one_lock(c, slots, count, later);
    slots += result.done;
    count -= result.done;
    if (!result.met_misuse) continue;
    // *slots is the program's error. Said without a lock held.
    const void* const pointer = *slots;
    ++slots;
    --count;
    const UnitIndex unit = slab::first_unit(static_cast<UnitIndex>(unit_of(pointer)), c);
    const std::size_t offset = reinterpret_cast<Address>(pointer) - address_of_unit(unit);
    const unsigned slot = slot_at(c, offset);
    switch (result.verdict) {
      case slab::Returned::kDoubleFree: misuse::double_free_of_slot(pointer, slot, slot_size(c), call); break;
      case slab::Returned::kInterior:
        misuse::interior_of_slot(pointer, slot, slot_size(c), offset - slot * slot_size(c), call);
        break;
      case slab::Returned::kNeverAllocated: misuse::never_allocated_slot(pointer, slot, slot_size(c), call); break;
      case slab::Returned::kBack: misuse::no_object(pointer, call); break;  // its slab is gone
    }
  }
}

// Up to the first that is no slot to put back, which is counted as dropped, or that `later` has no room for.
NodeHeap::PutBack NodeHeap::put_back_under_one_lock(SizeClass c, void* const* slots, unsigned count, Later& later) {
  PutBack result;
  const Home home = home_to_use(static_cast<UnitIndex>(unit_of(*slots)), c);
  Class& of = class_at(home, c);
  const auto part = static_cast<unsigned>(shard_of(home));
  bytes_in_use.expect(part);
  LockGuard guard(of.lock);
  unsigned back = 0;
  while (result.done < count) {
    const auto raw = static_cast<UnitIndex>(unit_of(slots[result.done]));
    if (!is_guarded(raw, c, home)) {
      if (!slab::is_of_class(raw, c)) {
        result.met_misuse = true;
        break;
      }
      if (later.count == std::size(later.slots)) break;
      later.slots[later.count++] = slots[result.done++];
      continue;
    }
    const UnitIndex unit = slab::first_unit(raw, c);
    // Neighbours in the pool are often neighbours in memory: as many as lie in the same slab.
    const unsigned done = slab::put_back(unit, c, slots + result.done, count - result.done, result.verdict);
    heap_of(home).relink(of, unit);
    result.done += done;
    back += done;
    if (result.verdict != slab::Returned::kBack) {
      result.met_misuse = true;
      break;
    }
  }
  if (result.met_misuse) ++of.facts.dropped;
  ++of.facts.flushes;
  of.facts.slots_outside -= back;
  bytes_in_use.subtract(back * slot_size(c), part);
  credit_slots(c, back);
  return result;
}

void NodeHeap::count_direct_allocation(SizeClass c) {
  begin(kFirstShard, c);
  Class& of = class_of(kFirstShard, c);
  LockGuard guard(of.lock);
  ++of.facts.direct_allocations;
}

void NodeHeap::count_direct_free(SizeClass c) {
  begin(kFirstShard, c);
  Class& of = class_of(kFirstShard, c);
  LockGuard guard(of.lock);
  ++of.facts.direct_frees;
}

void NodeHeap::drain_depot(SizeClass c, Shard threads_shard) {
  const Shard shard = own(threads_shard);
  void* slots[kBatchMost];
  while (const unsigned count = depot(shard, c).withdraw(c, slots + kBatchMost, kBatchMost))
    flush(c, slots + kBatchMost - count, count, Source::kSlabsOnly, "free");
}

void NodeHeap::drain_depots(Depots which) {
  for (unsigned s = 0; s < shards(); ++s) {
    const auto shard = static_cast<Shard>(s);
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
      const SizeClass c = size_class(i);
      if (!has_begun(shard, c) || depot(shard, c).facts().deposits == 0) continue;
      if (which == Depots::kIdle) {
        Class& of = class_of(shard, c);
        LockGuard guard(of.lock);
        const std::uint64_t now = depot(shard, c).facts().withdrawals();
        const bool busy = now != of.withdrawals_seen;
        of.withdrawals_seen = now;
        if (busy) continue;
        depot(shard, c).start_again();
      }
      drain_depot(c, shard);
    }
  }
}

void NodeHeap::release_empty_slabs() {
  for (unsigned s = 0; s < shards(); ++s) {
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
      if (!has_begun(static_cast<Shard>(s), size_class(i))) continue;
      Class& of = classes_[s][i];
      LockGuard guard(of.lock);
      for (UnitIndex unit = of.lists[kEmpty]; unit != kNoUnit;) {
        const UnitIndex next = slab::at(unit).next;
        if (!slab::at(unit).is_busy) {
          unlink(of, unit);
          release(of, unit);
        }
        unit = next;
      }
    }
  }
}

bool NodeHeap::release_spare_slabs() {
  bool had_some = false;
  for (unsigned s = 0; s < shards(); ++s) had_some |= release_spare_slabs_of(static_cast<Shard>(s));
  return had_some;
}

bool NodeHeap::release_spare_slabs_of(Shard shard) {
  bool had_some = false;
  find_class_with_spares(shard, [&](SizeClass c) {
    Class& of = class_of(shard, c);
    LockGuard guard(of.lock);
    for (UnitIndex unit; (unit = unlink_spare(of)) != kNoUnit; had_some = true) release(of, unit);
    return false;
  });
  return had_some;
}

void NodeHeap::release_idle_spare_slabs() {
  for (unsigned s = 0; s < shards(); ++s) {
    find_class_with_spares(static_cast<Shard>(s), [&](SizeClass c) {
      Class& of = class_of(static_cast<Shard>(s), c);
      LockGuard guard(of.lock);
      for (UnitIndex unit = of.lists[kEmpty]; unit != kNoUnit;) {
        Slab& slab = slab::at(unit);
        const UnitIndex next = slab.next;
        if (slab.bump != 0 && !slab.is_busy && slab.is_idle) {
          unlink(of, unit);
          release(of, unit);
        } else {
          slab.is_idle = true;
        }
        unit = next;
      }
      return false;
    });
  }
}

std::uint64_t NodeHeap::slots_in_depots(SizeClass c) {
  std::uint64_t sum = 0;
  for (unsigned heap = 0; heap < count(); ++heap) {
    const NodeHeap& from = at(static_cast<HeapId>(heap));
    for (unsigned s = 0; s < from.shards(); ++s)
      if (from.has_begun(static_cast<Shard>(s), c)) sum += from.depots_[s][index_of(c)].slots(c);
  }
  return sum;
}

std::uint64_t NodeHeap::dirty_bytes_of_all() {
  std::uint64_t sum = 0;
  for (unsigned heap = 0; heap < count(); ++heap) sum += at(static_cast<HeapId>(heap)).spans().facts().dirty_bytes;
  return sum;
}

void NodeHeap::Traffic::add(const Traffic& other) {
  returned += other.returned;
  fallbacks += other.fallbacks;
  arrivals += other.arrivals;
}

void NodeHeap::ClassFacts::add(const ClassFacts& other) {
  slabs += other.slabs;
  empty_slabs += other.empty_slabs;
  slots_outside += other.slots_outside;
  direct_allocations += other.direct_allocations;
  direct_frees += other.direct_frees;
  dropped += other.dropped;
  contended += other.contended;
  refills += other.refills;
  flushes += other.flushes;
  in_depots += other.in_depots;
  deposits += other.deposits;
  withdrawals += other.withdrawals;
  takeovers += other.takeovers;
}

NodeHeap::ClassFacts NodeHeap::facts(SizeClass c) const NEBULA_UNCHECKED {
  ClassFacts sum;
  for (unsigned s = 0; s < shards(); ++s) {
    if (!has_begun(static_cast<Shard>(s), c)) continue;
    const Class& of = classes_[s][index_of(c)];
    const Depot& depot = depots_[s][index_of(c)];
    const Depot::Facts in_depot = depot.facts();
    ClassFacts of_shard = of.facts;
    of_shard.contended = of.lock.contended();
    of_shard.in_depots = depot.slots(c);
    of_shard.deposits = in_depot.deposits;
    of_shard.withdrawals = in_depot.withdrawals();
    sum.add(of_shard);
  }
  return sum;
}

NodeHeap::ClassFacts NodeHeap::facts_of_all(SizeClass c) {
  ClassFacts sum;
  for (unsigned heap = 0; heap < count(); ++heap) sum.add(at(static_cast<HeapId>(heap)).facts(c));
  return sum;
}

bool NodeHeap::has_begun(SizeClass c) {
  for (unsigned heap = 0; heap < count(); ++heap) {
    const NodeHeap& of = at(static_cast<HeapId>(heap));
    for (unsigned s = 0; s < of.shards(); ++s)
      if (of.has_begun(static_cast<Shard>(s), c)) return true;
  }
  return false;
}

NodeHeap::Traffic NodeHeap::traffic() const {
  return {returned_.load(kRelaxed), fallbacks_.load(kRelaxed), arrivals_.load(kRelaxed)};
}

}  // namespace nebula
