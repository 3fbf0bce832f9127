#include "spans/span_heap.hpp"

#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "budget/heap_accounts.hpp"

namespace nebula {

NEBULA_START_DATA constinit SpanHeap::Keeper SpanHeap::keeper_ = nullptr;

SpanHeap& SpanHeap::begin_at(void* zeros, HeapId id) NEBULA_UNCHECKED {
  auto& heap = *static_cast<SpanHeap*>(zeros);
  heap.room_ = reinterpret_cast<Room*>(&heap + 1);
  heap.id_ = id;
  SpanPart::begin_first_at(&heap.first_, id, heap.room_->free_regions);
  heap.parts_.store(1, std::memory_order_relaxed);
  return heap;
}

void SpanHeap::set_placement(const os::Placement& placement) {
  for_each_part([&](SpanPart& part) { part.set_placement(placement); });
}

void SpanHeap::keep(Pages pages) { first_.keep(pages); }

void SpanHeap::open_parts(unsigned count) {
  if (first_.keeps_pages() || page_policy.uses_huge_tlb) return;
  for (unsigned number = parts_.load(std::memory_order_relaxed); number < count; ++number) {
    SpanPart::begin_at(room_->parts[number - 1], static_cast<std::uint8_t>(number), first_);
    parts_.store(number + 1, std::memory_order_release);
  }
}

template <class Visitor>
void SpanHeap::for_each_part(Visitor visit) {
  for (unsigned number = 0; number < parts(); ++number) visit(part_at(number));
}

UnitIndex SpanHeap::take(Units count, Units alignment, From from, unsigned part) {
  if (count.count > pages::region_capacity() * std::size_t{kUnitsPerRegion}) return kNoUnit;
  SpanWish wish = {count, alignment};
  const unsigned number = wish.exceeds_region() ? 0 : own_part(part);
  UnitIndex first = take_dirty(wish, number, Beside::kSeldom);
  const bool is_held_back = wish.is_held_back;
  if (first == kNoUnit && !is_held_back) first = ask_keeper(wish, number);
  if (first != kNoUnit || from == From::kDirty) return first;
  if (grows_first(wish)) {
    first = take_clean(wish, number, Beside::kSeldom);
    if (first == kNoUnit) first = take_or_grow(wish, number, Beside::kSeldom);
    if (first != kNoUnit) return first;
    wish.is_refused = false;  // what others have may have its records
  }
  first = take_clean(wish, number, Beside::kAlways);
  if (first == kNoUnit && is_held_back) first = ask_keeper(wish, number);
  return first != kNoUnit || wish.is_refused ? first : take_or_grow(wish, number, Beside::kAlways);
}

// In a small heap each part has regions of its own before it goes into others'; where there is little left, or the system has refused
// more before, what there is comes first.
bool SpanHeap::grows_first(const SpanWish& wish) const {
  return parts() > 1 && !wish.exceeds_region() && first_.may_grow_ahead() && !is_memory_short();
}

UnitIndex SpanHeap::ask_keeper(SpanWish& wish, unsigned part) {
  return keeper_ != nullptr && keeper_(id_) ? take_dirty(wish, part, Beside::kAlways) : kNoUnit;
}

// Looks once more, now that it is known what had arrived before.
UnitIndex SpanHeap::take_or_grow(SpanWish& wish, unsigned part, Beside how_often) {
  do {
    std::uint32_t arrivals[kPartsMost];
    const unsigned known = parts();
    for (unsigned i = 0; i < known; ++i) arrivals[i] = part_at(i).arrivals();
    UnitIndex first = take_dirty(wish, part, how_often);
    if (first == kNoUnit) first = take_clean(wish, part, how_often);
    if (first != kNoUnit || wish.is_refused) return first;
    bool is_worth_a_look = first_.grow_or_wait(wish, arrivals[0]);
    if (how_often == Beside::kAlways)
      for (unsigned i = 0; i < known && !is_worth_a_look; ++i) is_worth_a_look = part_at(i).wait_for_purge(arrivals[i]);
    if (!is_worth_a_look) return kNoUnit;
  } while (how_often == Beside::kAlways || grows_first(wish));
  return kNoUnit;
}

// What is dirty is paid for: the part's own, what lies in wholly free regions of the first one, and now and then what others have. Of a
// part that has no dirty pages no lock is taken.
UnitIndex SpanHeap::take_dirty(SpanWish& wish, unsigned part, Beside how_often) {
  wish.is_held_back = false;
  wish.shares_lines = true;
  if (wish.exceeds_region()) return kNoUnit;
  SpanPart& own = part_at(part);
  UnitIndex first = own.take(wish, Kind::kDirty);
  if (first == kNoUnit && part != 0 && first_.dirty_pages() != 0) first = own.take_from_first(wish, Kind::kDirty);
  wish.is_held_back = first == kNoUnit && how_often == Beside::kSeldom && !may_take_beside(part) && has_few_dirty_beside(part);
  if (first != kNoUnit || wish.is_held_back) return first;
  first = take_beside(wish, part, Kind::kDirty);
  if (first != kNoUnit) own.note_taken_beside();
  return first;
}

bool SpanHeap::has_few_dirty_beside(unsigned part) const {
  std::uint64_t pages = 0;
  for (unsigned other = 0; other < parts(); ++other)
    if (other != part) pages += part_at(other).dirty_pages();
  return pages != 0 && pages * kPageSize <= process_account.committed() / 4;
}

bool SpanHeap::is_memory_short() const {
  const auto is_short = [](const Account& account) {
    const std::uint64_t limit = account.hard_limit();
    return account.committed() >= limit - limit / 8;
  };
  const Account* const node = heap_accounts::of(id_).node;
  return is_short(process_account) || process_account.is_over_soft_limit() || (node != nullptr && is_short(*node));
}

UnitIndex SpanHeap::take_beside(SpanWish& wish, unsigned part, Kind kind) {
  UnitIndex first = kNoUnit;
  for (unsigned number = 0; first == kNoUnit && number < parts(); ++number) {
    SpanPart& other = part_at(number);
    if (number == part || (kind == Kind::kDirty && other.dirty_pages() == 0)) continue;
    first = other.take(wish, kind);
  }
  return first;
}

UnitIndex SpanHeap::take_clean(SpanWish& wish, unsigned part, Beside how_often) {
  wish.shares_lines = how_often == Beside::kAlways;
  UnitIndex first = part_at(part).take(wish, Kind::kClean);
  if (first == kNoUnit && part != 0) first = part_at(part).take_from_first(wish, Kind::kClean);
  if (first != kNoUnit || how_often == Beside::kSeldom || wish.exceeds_region()) return first;
  first = take_beside(wish, part, Kind::kDirty);
  return first != kNoUnit ? first : take_beside(wish, part, Kind::kClean);
}

std::size_t SpanHeap::purge(Purge how, std::size_t enough) {
  if (how == Purge::kEverything) {
    // The first one last: what is wholly free goes there.
    std::size_t purged = 0;
    for (unsigned number = parts(); number-- > 0 && purged < enough;) purged += part_at(number).purge_everything(enough - purged);
    return purged;
  }
  // Where pages are kept, they are counted for the first one alone; others may have come to be before that was known.
  const unsigned count = first_.keeps_pages() ? 1 : parts();
  const unsigned begin = purges_.fetch_add(1, std::memory_order_relaxed);
  std::size_t purged = 0;
  SpanPart::Idle idle = {SpanPart::regions_per_purge(), 0, 0};
  for (unsigned i = 0; i < count; ++i) {
    SpanPart& part = part_at((begin + i) % count);
    idle.dirty_elsewhere = idle.settled_elsewhere = 0;
    for_each_part([&](const SpanPart& other) {
      if (&other == &part) return;
      idle.dirty_elsewhere += other.dirty_pages();
      idle.settled_elsewhere += other.settled_pages();
    });
    purged += part.purge_idle(idle);
  }
  return purged;
}

std::uint64_t SpanHeap::dirty_bytes() const {
  std::uint64_t pages = 0;
  for (unsigned number = 0; number < parts(); ++number) pages += part_at(number).dirty_pages();
  return pages * kPageSize;
}

SpanHeap::Facts SpanHeap::facts() const {
  Facts sum = first_.facts();
  for (unsigned number = 1; number < parts(); ++number) {
    const Facts facts = part_at(number).facts();
    sum.placement_refusals += facts.placement_refusals;
    sum.dirty_bytes += facts.dirty_bytes;
    sum.huge_regions += facts.huge_regions;
  }
  return sum;
}

// The first one last, as whoever holds two takes them.
void SpanHeap::lock_quiet() NEBULA_UNCHECKED {
  for (unsigned number = parts(); number-- > 0;) part_at(number).lock_quiet();
}

void SpanHeap::unlock() NEBULA_UNCHECKED {
  for_each_part([](SpanPart& part) NEBULA_UNCHECKED { part.lock().unlock(); });
}

void SpanHeap::reset_in_child() NEBULA_UNCHECKED {
  for_each_part([](SpanPart& part) NEBULA_UNCHECKED { part.reset_in_child(); });
  for_each_part([](SpanPart& part) NEBULA_UNCHECKED { part.return_regions_in_child(); });
  first_.recount_in_child();
}

}  // namespace nebula
