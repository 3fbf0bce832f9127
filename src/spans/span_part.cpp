#include "spans/span_part.hpp"

#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include "base/bits.hpp"
#include "base/start_data.hpp"
#include "budget/heap_accounts.hpp"
#include "diag/message.hpp"
#include "os/memory.hpp"
#include "os/process.hpp"
#include "spans/frontier.hpp"

namespace nebula {

NEBULA_START_DATA constinit config::PagePolicy page_policy;

namespace {

constexpr std::size_t kRecordBytesPerRegion = kUnitsPerRegion * kUnitRecordBytes;

// The span that this thread has claimed, one at a time: what a child of fork keeps of the claims. Set before the claim's
// bit and cleared after it, under the lock.
struct Claimed {
  UnitIndex first = kNoUnit;
  std::uint32_t era = 0;
};
constinit thread_local Claimed claimed_here;

}  // namespace

[[gnu::always_inline]] inline void SpanPart::List::add(RegionIndex index, Region::Links Region::* links, End end) {
  Region::Links& mine = region_at(index).*links;
  if (end == End::kFront) {
    mine = {first, kNoRegion};
    if (first != kNoRegion) (region_at(first).*links).previous = index;
    else last = index;
    first = index;
  } else {
    mine = {kNoRegion, last};
    if (last != kNoRegion) (region_at(last).*links).next = index;
    else first = index;
    last = index;
  }
}

[[gnu::always_inline]] inline void SpanPart::List::remove(RegionIndex index, Region::Links Region::* links) {
  const Region::Links& mine = region_at(index).*links;
  if (mine.previous != kNoRegion) (region_at(mine.previous).*links).next = mine.next;
  else first = mine.next;
  if (mine.next != kNoRegion) (region_at(mine.next).*links).previous = mine.previous;
  else last = mine.previous;
}

UnitIndex SpanPart::take(SpanWish& wish, Kind kind) {
  LockGuard guard(lock_);
  return use(kind == Kind::kDirty ? find_dirty(wish) : find(wish), wish);
}

// As it is in this window; none in a new one.
std::uint64_t SpanPart::beside_now() const {
  const std::uint64_t none = (os::coarse_milliseconds() >> 7) << kBesideBits;
  const std::uint64_t beside = beside_.load(std::memory_order_relaxed);
  return beside >> kBesideBits == none >> kBesideBits ? beside : none;
}

bool SpanPart::may_take_beside() const {
  constexpr std::uint64_t kMost = 64;
  return (beside_now() & mask_of(0, kBesideBits)) < kMost;
}

void SpanPart::note_taken_beside() {
  const std::uint64_t beside = beside_now();
  if ((beside & mask_of(0, kBesideBits)) != mask_of(0, kBesideBits)) beside_.store(beside + 1, std::memory_order_relaxed);
}

// What was found, if anything was.
UnitIndex SpanPart::use(UnitIndex first, SpanWish& wish) {
  if (first == kNoUnit) return kNoUnit;
  if (!commit_unit_records(region_of(first))) {
    wish.is_refused = true;
    return kNoUnit;
  }
  mark_used(first, wish.count);
  return first;
}

bool SpanPart::grow_or_wait(const SpanWish& wish, std::uint32_t arrivals_before) {
  LockGuard guard(lock_);
  const std::uint32_t changes = changes_.so_far();
  if (arrivals() != arrivals_before) return true;
  if (grower_ != 0) {
    changes_.wait(lock_, changes);
    return true;
  }
  if (!frontier.try_hold()) {
    lock_.unlock();
    frontier.wait();
    lock_.lock();
    return true;
  }
  const bool has_grown = grow(wish.count, wish.alignment);
  if (has_grown || !wish.exceeds_region()) is_refused_growth_ = !has_grown;
  frontier.release();
  return has_grown;
}

bool SpanPart::wait_for_purge(std::uint32_t arrivals_before) {
  LockGuard guard(lock_);
  const std::uint32_t changes = changes_.so_far();
  if (arrivals() != arrivals_before) return true;
  if (purging_.count() == 0) return false;
  changes_.wait(lock_, changes);
  return true;
}

void SpanPart::give_back(UnitIndex first, Units count) {
  LockGuard guard(lock_);
  changes_.wait_while(lock_, [&]() NEBULA_UNCHECKED { return is_claimed(first); });
  mark_free(first, count);
}

// To another part: not while somebody has a claim, which ends where it was begun.
bool SpanPart::may_go(RegionIndex index) const {
  const Region& region = region_at(index);
  return is_own(index) && region.free_units == kAllUnits && region.claimed_units == 0;
}

// Where a larger span may find it, and other parts.
void SpanPart::return_if_whole(RegionIndex index) {
  if (is_first() || !may_go(index)) return;
  LockGuard guard(first_->lock_);
  hand_over(index, *first_);
}

bool SpanPart::is_claimed(UnitIndex first) const {
  return (region_at(region_of(first)).claimed_units >> (first % kUnitsPerRegion) & 1) != 0;
}

void SpanPart::set_claimed(UnitIndex first) {
  claimed_here = {first, claims_.begin()};
  std::atomic_signal_fence(std::memory_order_release);  // a handler that forks sees no bit of ours without the line above
  region_at(region_of(first)).claimed_units |= mask_of(first % kUnitsPerRegion, 1);
}

bool SpanPart::claim(UnitIndex first) {
  LockGuard guard(lock_);
  changes_.wait_while(lock_, [&]() NEBULA_UNCHECKED { return is_own(region_of(first)) && is_claimed(first); });
  if (!is_own(region_of(first))) return false;
  set_claimed(first);
  return true;
}

bool SpanPart::note_patched(UnitIndex first, Units count) {
  constexpr std::uint32_t kPatchedMost = 4096;  // about three mappings each, of 65,530 that a process may have
  const RegionIndex begin = region_of(first);
  const RegionIndex end = region_of(static_cast<UnitIndex>(first + count.count - 1)) + 1;
  LockGuard guard(lock_);
  std::uint32_t more = 0;
  for (RegionIndex index = begin; index < end; ++index) more += region_at(index).is_patched ? 0 : 1;
  std::atomic<std::uint32_t>& patched = first_part().patched_regions_;
  if (patched.fetch_add(more, std::memory_order_relaxed) + more > kPatchedMost) {
    patched.fetch_sub(more, std::memory_order_relaxed);
    return false;
  }
  for (RegionIndex index = begin; index < end; ++index) region_at(index).is_patched = true;
  return true;
}

bool SpanPart::try_claim(UnitIndex first) {
  LockGuard guard(lock_);
  if (!is_own(region_of(first)) || is_claimed(first)) return false;
  set_claimed(first);
  return true;
}

void SpanPart::release_claim(UnitIndex first) {
  LockGuard guard(lock_);
  region_at(region_of(first)).claimed_units &= ~mask_of(first % kUnitsPerRegion, 1);
  std::atomic_signal_fence(std::memory_order_release);  // as in set_claimed
  claims_.end(claimed_here.era);
  claimed_here.first = kNoUnit;
  changes_.announce();
  return_if_whole(region_of(first));
}

bool SpanPart::extend(UnitIndex first, Units from, Units to) {
  LockGuard guard(lock_);
  const auto begin = static_cast<UnitIndex>(first + from.count);
  const std::size_t end = first + to.count;
  // acquire: pairs with the release in Frontier::advance_to, so that the records of others' regions are there.
  if (end > std::size_t{heap_map.mapped_units.load(std::memory_order_acquire)}) return false;
  if (is_own(region_of(static_cast<UnitIndex>(end - 1)))) {
    if (!are_free(begin, end)) return false;
  } else if (is_first()) {
    return false;
  } else {
    LockGuard guard_of_first(first_->lock_);
    if (!get_regions(begin, end)) return false;
  }
  mark_used(begin, {to.count - from.count});
  return true;
}

bool SpanPart::are_free(UnitIndex first, std::size_t end) const {
  for (std::size_t unit = first; unit < end; ++unit) {
    const Region& region = region_at(region_of(static_cast<UnitIndex>(unit)));
    if (!is_own(region_of(static_cast<UnitIndex>(unit)))) return false;
    if (unit % kUnitsPerRegion == 0 && unit + kUnitsPerRegion <= end) {
      if (region.free_units != kAllUnits) return false;
      unit += kUnitsPerRegion - 1;
    } else if ((region.free_units >> (unit % kUnitsPerRegion) & 1) == 0) {
      return false;
    }
  }
  return true;
}

UnitIndex SpanPart::find(const SpanWish& wish) const {
  const std::size_t count = wish.count.count;
  const std::size_t alignment = wish.alignment.count;
  if (wish.exceeds_region()) {
    if (!is_first()) return kNoUnit;
    const std::size_t regions = (count + kUnitsPerRegion - 1) / kUnitsPerRegion;
    const RegionIndex region = find_regions(regions, alignment > kUnitsPerRegion ? alignment / kUnitsPerRegion : 1);
    return region == kNoRegion ? kNoUnit : first_unit_of(region);
  }
  constexpr int kLooks = 8;  // a run may be long enough but start off alignment; the next longer list will do
  std::uint64_t lists = lists_used_ & (~std::uint64_t{0} << count);
  bool has_looked_across = count == 1 || alignment != 1;
  while (lists != 0) {
    const auto length = static_cast<unsigned>(std::countr_zero(lists));
    lists &= lists - 1;
    if (length == kUnitsPerRegion && !has_looked_across) {
      if (const UnitIndex across = find_across(wish.count); across != kNoUnit) return across;
      has_looked_across = true;
    }
    if (length == kUnitsPerRegion && is_first()) {
      const RegionIndex whole = find_whole(wish, Kind::kClean);
      return whole == kNoRegion ? kNoUnit : first_unit_of(whole);
    }
    int looks = 0;
    for (RegionIndex i = lists_[length].first; i != kNoRegion && looks < kLooks; i = region_at(i).by_run.next, ++looks) {
      const unsigned start = best_run(region_at(i).free_units, static_cast<unsigned>(count), static_cast<unsigned>(alignment));
      if (start != kNoRun) return first_unit_of(i) + start;
    }
  }
  return has_looked_across ? kNoUnit : find_across(wish.count);
}

// The shortest run that crosses a seam and suffices.
UnitIndex SpanPart::find_across(Units count) const {
  const std::uint64_t seams = seams_used_ & (~std::uint64_t{0} << count.count);
  if (seams == 0) return kNoUnit;
  const RegionIndex index = seams_[std::countr_zero(seams)].first;
  return first_unit_of(index + 1) - static_cast<UnitIndex>(std::countl_one(region_at(index).free_units));
}

unsigned SpanPart::dirty_run(RegionIndex index, const SpanWish& wish) {
  return best_run(region_at(index).dirty_units, static_cast<unsigned>(wish.count.count), static_cast<unsigned>(wish.alignment.count));
}

// Dirty pages cost nothing, and may be in a cache still. Of the regions dirtied last, the one with the shortest longest run that has
// room in its dirty units alone.
UnitIndex SpanPart::find_dirty(const SpanWish& wish) const {
  if (wish.exceeds_region()) return kNoUnit;
  constexpr int kLooks = 8;
  UnitIndex best = kNoUnit;
  unsigned best_length = kUnitsPerRegion + 1;
  int looks = 0;
  for (RegionIndex i = dirty_.last; i != kNoRegion && looks < kLooks; i = region_at(i).by_age.previous, ++looks) {
    const Region& region = region_at(i);
    if (region.list < wish.count.count || region.list >= best_length) continue;
    const unsigned start = dirty_run(i, wish);
    if (start == kNoRun) continue;
    best = first_unit_of(i) + start;
    best_length = region.list;
    if (best_length == wish.count.count) break;
  }
  return best;
}

RegionIndex SpanPart::find_regions(std::size_t count, std::size_t alignment) const {
  std::size_t start = 0;
  std::size_t i = 0;
  while (i < regions_) {
    const std::uint64_t word = free_regions_[i / 64] >> (i % 64);
    if ((word & 1) == 0) {
      i = word == 0 ? (i / 64 + 1) * 64 : i + static_cast<std::size_t>(std::countr_zero(word));
      start = round_up(i, alignment);
      i = start;
      continue;
    }
    ++i;
    if (i - start >= count) return static_cast<RegionIndex>(start);
  }
  return kNoRegion;
}

bool SpanPart::commit_unit_records(RegionIndex index) {
  Region& region = region_at(index);
  if (region.has_unit_records) return true;
  if (!pages::commit_metadata(kRecordBytesPerRegion)) return false;
  region.has_unit_records = true;
  return true;
}

// What is not all zeros.
SpanPart& SpanPart::begin_empty_at(void* zeros, HeapId id) NEBULA_UNCHECKED {
  auto& part = *static_cast<SpanPart*>(zeros);
  new (&part.lock_) Lock(LockRank::kSpans);
  for (List& list : part.lists_) list = {};
  for (List& list : part.seams_) list = {};
  part.dirty_ = {};
  part.id_ = id;
  return part;
}

SpanPart& SpanPart::begin_first_at(void* zeros, HeapId id, FreeRegions& free_regions) NEBULA_UNCHECKED {
  SpanPart& part = begin_empty_at(zeros, id);
  part.free_regions_ = free_regions;
  return part;
}

SpanPart& SpanPart::begin_at(void* zeros, std::uint8_t number, SpanPart& first) {
  SpanPart& part = begin_empty_at(zeros, first.id_);
  part.number_ = number;
  part.first_ = &first;
  part.placement_ = first.placement_;
  return part;
}

void SpanPart::lock_quiet() {
  lock_.lock();
  changes_.wait_while(lock_, [&]() NEBULA_UNCHECKED { return grower_ != 0 || purging_.count() != 0 || claims_.count() != 0; });
}

// This thread may be in the middle of anything here, and goes on with it when its signal handler returns.
void SpanPart::reset_in_child() NEBULA_UNCHECKED {
  const bool is_halfway = lock_.is_held() && !lock_.is_mine();
  if (!lock_.is_mine()) lock_.reset_in_child();
  if (grower_ != thread_token()) grower_ = 0;
  purging_.forget_in_child();
  claims_.forget_in_child();
  for (RegionIndex index = 0; index < regions_; ++index) {
    if (!is_own(index)) continue;
    const bool has_ours = claimed_here.first != kNoUnit && region_of(claimed_here.first) == index;
    const std::uint32_t ours = has_ours ? mask_of(claimed_here.first % kUnitsPerRegion, 1) : 0;
    Region& region = region_at(index);
    if ((region.claimed_units & ~ours) != 0) region.claimed_units &= ours;
  }
  if (is_halfway) rebuild();
  changes_.forget_in_child();
}

// Not from a lock that our own thread holds, in what a signal handler of its interrupted.
void SpanPart::return_regions_in_child() NEBULA_UNCHECKED {
  if (is_first() || lock_.is_held() || first_->lock_.is_held()) return;
  LockGuard guard(lock_);
  for (RegionIndex index = 0; index < regions_; ++index) return_if_whole(index);
}

void SpanPart::recount_in_child() NEBULA_UNCHECKED {
  std::uint32_t patched = 0;
  for (RegionIndex index = 0; index < frontier.regions(); ++index)
    patched += region_at(index).heap == id_ && region_at(index).is_patched ? 1 : 0;
  patched_regions_.store(patched, std::memory_order_relaxed);
}

// What is to become of the dirty ones of these units, which are free now: their age counts, or nothing ever does.
inline void SpanPart::note_idle(RegionIndex index, std::uint32_t units) {
  if (region_at(index).is_huge_tlb) [[unlikely]] settle(index, units);
  else dirty_append(index);
}

void SpanPart::rebuild() NEBULA_UNCHECKED {
  for (List& list : lists_) list = {};
  for (List& list : seams_) list = {};
  lists_used_ = seams_used_ = 0;
  dirty_ = {};
  dirty_pages_ = 0;
  settled_pages_ = 0;
  huge_regions_ = 0;
  if (is_first()) std::memset(free_regions_, 0, sizeof(FreeRegions));
  for (RegionIndex index = 0; index < regions_; ++index) {
    if (!is_own(index)) continue;
    Region& region = region_at(index);
    std::uint32_t free_units = region.free_units;
    for (unsigned i = 0; i < kUnitsPerRegion; ++i)
      if (unit_use(first_unit_of(index) + i).load(std::memory_order_relaxed) != 0) free_units &= ~mask_of(i, 1);
    region.seam = 0;
    region.is_listed = false;
    region.is_dirty_listed = false;
    const Dirty dirty = dirty_in(index, free_units);
    region.dirty_units = dirty.units;
    region.dirty_pages = dirty.pages;
    region.settled_units = 0;  // at worst the kernel is told once more
    join_neighbours(index);
    dirty_pages_ += region.dirty_pages;
    begin_free_units(index, free_units, End::kBack);
    if (region.dirty_pages != 0) note_idle(index, free_units);
    huge_regions_ += region.wants_huge_pages ? 1 : 0;
  }
}

void SpanPart::mark_used(UnitIndex first, Units count) {
  std::size_t unit = first;
  const std::size_t end = first + count.count;
  while (unit < end) {
    const RegionIndex index = region_of(static_cast<UnitIndex>(unit));
    const std::size_t stop = first_unit_of(index) + kUnitsPerRegion < end ? first_unit_of(index) + kUnitsPerRegion : end;
    const auto taken = static_cast<unsigned>(stop - unit);
    const std::uint32_t mask = mask_of(static_cast<unsigned>(unit % kUnitsPerRegion), taken);
    Region& region = region_at(index);
    if (region.dirty_pages != 0) {
      const std::uint32_t dirty = dirty_in(index, mask).pages;
      if ((region.settled_units & mask) != 0) [[unlikely]] unsettle(index, mask);
      region.dirty_pages -= dirty;
      region.dirty_units &= ~mask;
      dirty_pages_ -= dirty;
      if (region.dirty_pages == 0) dirty_unlink(index);
    }
    set_free_units(index, region.free_units & ~mask, End::kFront);
    unit = stop;
  }
}

void SpanPart::mark_free(UnitIndex first, Units count) {
  const std::uint64_t now = os::coarse_milliseconds();
  std::size_t unit = first;
  const std::size_t end = first + count.count;
  while (unit < end) {
    const RegionIndex index = region_of(static_cast<UnitIndex>(unit));
    const std::size_t stop = first_unit_of(index) + kUnitsPerRegion < end ? first_unit_of(index) + kUnitsPerRegion : end;
    const auto freed = static_cast<unsigned>(stop - unit);
    const std::uint32_t mask = mask_of(static_cast<unsigned>(unit % kUnitsPerRegion), freed);
    Region& region = region_at(index);
    if ((region.free_units & mask) != 0) fatal::broken("a span given back twice");
    note_dirty(index, mask);
    region.freed_at = now;
    dirty_unlink(index);
    if (region.dirty_pages != 0) note_idle(index, mask);
    set_free_units(index, region.free_units | mask, End::kFront);
    return_if_whole(index);
    unit = stop;
  }
}

// Most changes reach neither end of the region: then its seams are as they were.
void SpanPart::set_free_units(RegionIndex index, std::uint32_t units, End end) {
  Region& region = region_at(index);
  const std::uint32_t before = std::exchange(region.free_units, units);
  if ((before == kAllUnits) != (units == kAllUnits)) note_whole(index, units == kAllUnits);
  if (region.follows_own && std::countr_one(before) != std::countr_one(units)) look_at_seam(index - 1);
  if (std::countl_one(before) != std::countl_one(units)) look_at_seam(index);
  put_in_list(index, longest_run(units), end);
}

// Of a region that is in no list by run or seam, and not counted as whole. Its record may have these units already: in one that goes from part
// to part they stay there, where the child of a fork in between finds them.
void SpanPart::begin_free_units(RegionIndex index, std::uint32_t units, End end) {
  Region& region = region_at(index);
  region.free_units = units;
  if (units == kAllUnits) note_whole(index, true);
  if (region.follows_own) look_at_seam(index - 1);
  look_at_seam(index);
  put_in_list(index, longest_run(units), end);
}

// A small program has no such region, and does not touch this.
void SpanPart::note_whole(RegionIndex index, bool is_whole) {
  if (!is_first()) return;
  const std::uint64_t bit = std::uint64_t{1} << (index % 64);
  if (is_whole) free_regions_[index / 64] |= bit;
  else free_regions_[index / 64] &= ~bit;
}

// 0: in none.
void SpanPart::put_in_list(RegionIndex index, unsigned length, End end) {
  Region& region = region_at(index);
  if (region.is_listed && region.list == length) return;
  if (region.is_listed) {
    List& old = lists_[region.list];
    old.remove(index, &Region::by_run);
    if (old.first == kNoRegion) lists_used_ &= ~(std::uint64_t{1} << region.list);
    region.is_listed = false;
  }
  if (length == 0) return;
  region.is_listed = true;
  region.list = static_cast<std::uint8_t>(length);
  lists_[length].add(index, &Region::by_run, end);
  lists_used_ |= std::uint64_t{1} << length;
}

// Of a region of this heap: how many free units lie on both sides of its end, with some on each: a run that spans may take. Not between
// two regions that are wholly free, which are to stay whole, nor where the pool of huge pages ends.
unsigned SpanPart::seam_at(RegionIndex index) const {
  const Region& region = region_at(index);
  if (!region.precedes_own) return 0;
  const Region& next = region_at(index + 1);
  if (region.is_huge_tlb != next.is_huge_tlb || (region.free_units & next.free_units) == kAllUnits) return 0;
  const auto before = static_cast<unsigned>(std::countl_one(region.free_units));
  const auto behind = static_cast<unsigned>(std::countr_one(next.free_units));
  return before != 0 && behind != 0 ? before + behind : 0;
}

void SpanPart::look_at_seam(RegionIndex index) { put_in_seams(index, seam_at(index)); }

void SpanPart::put_in_seams(RegionIndex index, unsigned seam) {
  Region& region = region_at(index);
  if (region.seam == seam) return;
  if (region.seam != 0) {
    List& old = seams_[region.seam];
    old.remove(index, &Region::by_seam);
    if (old.first == kNoRegion) seams_used_ &= ~(std::uint64_t{1} << region.seam);
  }
  region.seam = static_cast<std::uint8_t>(seam);
  if (seam == 0) return;
  seams_[seam].add(index, &Region::by_seam, End::kFront);
  seams_used_ |= std::uint64_t{1} << seam;
}

void SpanPart::dirty_unlink(RegionIndex index) {
  Region& region = region_at(index);
  if (!region.is_dirty_listed) return;
  dirty_.remove(index, &Region::by_age);
  region.is_dirty_listed = false;
}

void SpanPart::dirty_append(RegionIndex index) {
  dirty_.add(index, &Region::by_age, End::kBack);
  region_at(index).is_dirty_listed = true;
}

void SpanPart::note_dirty(RegionIndex index, std::uint32_t units) {
  Region& region = region_at(index);
  const Dirty dirty = dirty_in(index, units);
  region.dirty_pages += dirty.pages;
  region.dirty_units |= dirty.units;
  dirty_pages_ += dirty.pages;
}

void SpanPart::settle(RegionIndex index, std::uint32_t units) {
  Region& region = region_at(index);
  const std::uint32_t dirty = units & region.dirty_units;
  region.settled_units |= dirty;
  settled_pages_ += dirty_in(index, dirty).pages;
}

void SpanPart::forget_dirty(RegionIndex index, std::uint32_t units) {
  Region& region = region_at(index);
  const std::uint32_t dirty = dirty_in(index, units).pages;
  unsettle(index, units);
  region.dirty_pages -= dirty;
  region.dirty_units &= ~units;
  dirty_pages_ -= dirty;
}

void SpanPart::unsettle(RegionIndex index, std::uint32_t units) {
  Region& region = region_at(index);
  settled_pages_ -= dirty_in(index, region.settled_units & units).pages;
  region.settled_units &= ~units;
}

// By words of the committed bits, each of four units: mostly all of it is committed.
SpanPart::Dirty SpanPart::dirty_in(RegionIndex index, std::uint32_t units) {
  constexpr unsigned kUnitsPerWord = 64 / kPagesPerUnit;
  constexpr std::uint64_t kFirstPages = ~std::uint64_t{0} / ((1u << kPagesPerUnit) - 1);  // of each unit
  static_assert(kUnitsPerWord == 4 && kPagesPerUnit == 16);
  constexpr std::uint64_t kOnesOf = 0x4332'3221'3221'2110;  // four bits each: of how many ones 15, 14, ... 0 are the sum
  Dirty result;
  for (std::uint32_t rest = units; rest != 0;) {
    const auto word = static_cast<unsigned>(std::countr_zero(rest)) / kUnitsPerWord;
    const std::uint64_t four = units >> (word * kUnitsPerWord) & 0xf;
    rest &= ~(std::uint32_t{0xf} << (word * kUnitsPerWord));
    const std::uint64_t committed = region_at(index).committed[word].load(std::memory_order_relaxed);
    if (committed == ~std::uint64_t{0}) {
      result.units |= static_cast<std::uint32_t>(four) << (word * kUnitsPerWord);
      result.pages += kPagesPerUnit * static_cast<std::uint32_t>(kOnesOf >> (four * 4) & 0xf);
      continue;
    }
    // Bit i of the four at bit 16 i, and then at all pages of the unit.
    const std::uint64_t dirty = committed & (four * 0x0000'2000'4000'8001 & kFirstPages) * ((1u << kPagesPerUnit) - 1);
    for (unsigned i = 0; i < kUnitsPerWord; ++i)
      if ((dirty >> (i * kPagesPerUnit) & ((1u << kPagesPerUnit) - 1)) != 0) result.units |= mask_of(word * kUnitsPerWord + i, 1);
    result.pages += count_ones(dirty);
  }
  return result;
}

SpanPart::Facts SpanPart::facts() const NEBULA_UNCHECKED {
  return {regions_, mapped_regions_, placement_refusals_, dirty_pages_ * kPageSize, huge_regions_, growths_, growth_refusals_,
          {huge_tlb_.asked_regions, huge_tlb_.regions, huge_tlb_.refusals}};
}

}  // namespace nebula
