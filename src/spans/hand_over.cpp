// Regions that are wholly free go from one part to another: which one a part gets, and what changes hands with it.
#include <bit>

#include "base/bits.hpp"
#include "spans/span_part.hpp"

namespace nebula {
namespace {

constexpr int kLooks = 32;  // at wholly free regions, for one that fits

}  // namespace

UnitIndex SpanPart::take_from_first(SpanWish& wish, Kind kind) {
  LockGuard guard(lock_);
  LockGuard guard_of_first(first_->lock_);
  const RegionIndex found = find_whole(wish, kind);
  if (found == kNoRegion) return kNoUnit;
  first_->hand_over(found, *this);
  // Clean ones perhaps across the seam to a neighbour.
  const UnitIndex taken = use(kind == Kind::kDirty ? first_unit_of(found) + dirty_run(found, wish) : find(wish), wish);
  if (may_go(found)) hand_over(found, *first_);  // refused, or found elsewhere
  return taken;
}

// Two regions share a line of the class map, and who writes there waits for who writes beside. 2: the other one is of this part; 1: of none,
// yet; 0: of another.
unsigned SpanPart::fitness(RegionIndex whole) const {
  const RegionIndex beside = whole ^ 1;
  if (beside >= first_part().regions_) return 1;
  return is_own(beside) ? 2 : first_part().may_go(beside) ? 1 : 0;
}

// Of the regions that the first part has whole one that fits; among equals the one freed last or, of clean ones, the lowest.
RegionIndex SpanPart::find_whole(const SpanWish& wish, Kind kind) const {
  const SpanPart& first = first_part();
  RegionIndex found = kNoRegion;
  unsigned best = 0;
  const auto fits = [&](RegionIndex index) NEBULA_UNCHECKED {
    if (!is_first() && !first.may_go(index)) return false;
    const unsigned fitness = this->fitness(index);
    if (fitness == 0 && !wish.shares_lines) return false;
    if (found != kNoRegion && fitness <= best) return false;
    found = index;
    best = fitness;
    return best == 2;
  };
  int looks = 0;
  if (kind == Kind::kDirty) {
    for (RegionIndex i = first.lists_[kUnitsPerRegion].first; i != kNoRegion && looks < kLooks; i = region_at(i).by_run.next, ++looks)
      if (dirty_run(i, wish) != kNoRun && fits(i)) break;
    return found;
  }
  for (std::size_t word = 0; word * 64 < first.regions_; ++word)
    for (std::uint64_t bits = first.free_regions_[word]; bits != 0; bits &= bits - 1)
      if (++looks > kLooks || fits(static_cast<RegionIndex>(word * 64 + static_cast<unsigned>(std::countr_zero(bits))))) return found;
  return found;
}

void SpanPart::hand_over(RegionIndex index, SpanPart& to) {
  Region& region = region_at(index);
  const std::uint32_t settled = region.settled_units;
  const std::size_t settled_pages = dirty_in(index, settled).pages;
  const bool is_aging = region.is_dirty_listed;
  dirty_unlink(index);
  put_in_list(index, 0, End::kFront);
  put_in_seams(index, 0);
  note_whole(index, false);
  leave_neighbours(index);
  dirty_pages_ -= region.dirty_pages;
  settled_pages_ -= settled_pages;
  huge_regions_ -= region.wants_huge_pages ? 1 : 0;

  if (to.regions_ <= index) to.regions_ = index + 1;
  // release: in the child of a fork who looks for the regions of a part looks below its bound.
  region.part.store(to.number_, std::memory_order_release);
  to.join_neighbours(index);
  to.dirty_pages_ += region.dirty_pages;
  to.settled_pages_ += settled_pages;
  to.huge_regions_ += region.wants_huge_pages ? 1 : 0;
  if (is_aging) to.dirty_append(index);
  to.begin_free_units(index, kAllUnits, End::kFront);
  to.arrivals_.fetch_add(1, std::memory_order_relaxed);
}

// Of a region that is this part's from now on: it and those beside it.
void SpanPart::join_neighbours(RegionIndex index) {
  Region& region = region_at(index);
  region.follows_own = index != 0 && is_own(index - 1);
  region.precedes_own = index + 1 < regions_ && is_own(index + 1);
  if (region.follows_own) region_at(index - 1).precedes_own = true;
  if (region.precedes_own) region_at(index + 1).follows_own = true;
}

// Of one that will be another part's.
void SpanPart::leave_neighbours(RegionIndex index) {
  const Region& region = region_at(index);
  if (region.precedes_own) region_at(index + 1).follows_own = false;
  if (!region.follows_own) return;
  region_at(index - 1).precedes_own = false;
  look_at_seam(index - 1);
}

// The same of a range that ends in another part's region: what is wholly free there comes along.
bool SpanPart::get_regions(UnitIndex first, std::size_t end) {
  const auto is_had = [&](std::size_t unit) NEBULA_UNCHECKED {
    const RegionIndex index = region_of(static_cast<UnitIndex>(unit));
    if (is_own(index)) return (region_at(index).free_units >> (unit % kUnitsPerRegion) & 1) != 0;
    return first_->may_go(index);
  };
  for (std::size_t unit = first; unit < end; ++unit)
    if (!is_had(unit)) return false;
  const RegionIndex last = region_of(static_cast<UnitIndex>(end - 1));
  for (RegionIndex index = region_of(first); index <= last; ++index)
    if (!is_own(index)) first_->hand_over(index, *this);
  return true;
}

}  // namespace nebula
