#include "spans/span_heap.hpp"

#include <bit>
#include <cstring>
#include <new>

#include "base/bits.hpp"
#include "base/start_data.hpp"
#include "budget/heap_accounts.hpp"
#include "diag/message.hpp"
#include "os/memory.hpp"
#include "os/process.hpp"
#include "spans/frontier.hpp"

namespace nebula {

NEBULA_START_DATA constinit config::PagePolicy page_policy;
constinit SpanHeap::Keeper SpanHeap::keeper_ = nullptr;

namespace {

constexpr std::size_t kRecordBytesPerRegion = kUnitsPerRegion * kUnitRecordBytes;

// The span that this thread has claimed, one at a time: what a child of fork keeps of the claims. Set before the claim's
// bit and cleared after it, under the lock.
struct Claimed {
  UnitIndex first = kNoUnit;
  std::uint32_t era = 0;
};
constinit thread_local Claimed claimed_here;

// Whether nobody else takes slabs from it; of those who take other spans, everybody may.
bool is_for(const Region& region, std::uint8_t user) { return user == 0 || region.user == user || region.user == 0; }

}  // namespace

[[gnu::always_inline]] inline void SpanHeap::List::add(RegionIndex index, Region::Links Region::* links, End end) {
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

[[gnu::always_inline]] inline void SpanHeap::List::remove(RegionIndex index, Region::Links Region::* links) {
  const Region::Links& mine = region_at(index).*links;
  if (mine.previous != kNoRegion) (region_at(mine.previous).*links).next = mine.next;
  else first = mine.next;
  if (mine.next != kNoRegion) (region_at(mine.next).*links).previous = mine.previous;
  else last = mine.previous;
}

UnitIndex SpanHeap::take(Units count, Units alignment, From from, std::uint8_t user) {
  if (count.count > pages::region_capacity() * std::size_t{kUnitsPerRegion}) return kNoUnit;
  LockGuard guard(lock_);
  for (bool has_asked = false;;) {
    const std::uint32_t changes = changes_.so_far();
    UnitIndex first = find_dirty(count, alignment, user);
    if (first == kNoUnit && !has_asked) {
      has_asked = true;
      if (ask_keeper()) continue;
    }
    if (first == kNoUnit && from == From::kDirty) return kNoUnit;
    if (first == kNoUnit) first = find(count, alignment, user);
    if (first != kNoUnit) {
      if (!commit_unit_records(region_of(first))) return kNoUnit;
      mark_used(first, count);
      if (Region& region = region_at(region_of(first)); region.user == 0) region.user = user;
      return first;
    }
    if (grower_ != 0) {
      changes_.wait(lock_, changes);
    } else if (!frontier.try_hold()) {
      lock_.unlock();
      frontier.wait();
      lock_.lock();
    } else {
      const bool has_grown = grow(count, alignment);
      frontier.release();
      if (has_grown) continue;
      const std::uint32_t since_growth = changes_.so_far();
      if (purging_.count() == 0) return kNoUnit;
      changes_.wait(lock_, since_growth);
    }
  }
}

bool SpanHeap::ask_keeper() {
  if (keeper_ == nullptr) return false;
  lock_.unlock();
  const bool came_back = keeper_(id_);
  lock_.lock();
  return came_back;
}

void SpanHeap::give_back(UnitIndex first, Units count) {
  LockGuard guard(lock_);
  changes_.wait_while(lock_, [&]() NEBULA_UNCHECKED { return is_claimed(first); });
  mark_free(first, count);
}

bool SpanHeap::is_claimed(UnitIndex first) const {
  return (region_at(region_of(first)).claimed_units >> (first % kUnitsPerRegion) & 1) != 0;
}

void SpanHeap::set_claimed(UnitIndex first) {
  claimed_here = {first, claims_.begin()};
  std::atomic_signal_fence(std::memory_order_release);  // a handler that forks sees no bit of ours without the line above
  region_at(region_of(first)).claimed_units |= mask_of(first % kUnitsPerRegion, 1);
}

void SpanHeap::claim(UnitIndex first) {
  LockGuard guard(lock_);
  changes_.wait_while(lock_, [&]() NEBULA_UNCHECKED { return is_claimed(first); });
  set_claimed(first);
}

bool SpanHeap::note_patched(UnitIndex first, Units count) {
  constexpr std::uint32_t kPatchedMost = 4096;  // about three mappings each, of 65,530 that a process may have
  const RegionIndex begin = region_of(first);
  const RegionIndex end = region_of(static_cast<UnitIndex>(first + count.count - 1)) + 1;
  LockGuard guard(lock_);
  if (patched_regions_ + (end - begin) > kPatchedMost) return false;
  for (RegionIndex index = begin; index < end; ++index) {
    patched_regions_ += region_at(index).is_patched ? 0 : 1;
    region_at(index).is_patched = true;
  }
  return true;
}

bool SpanHeap::try_claim(UnitIndex first) {
  LockGuard guard(lock_);
  if (is_claimed(first)) return false;
  set_claimed(first);
  return true;
}

void SpanHeap::release_claim(UnitIndex first) {
  LockGuard guard(lock_);
  region_at(region_of(first)).claimed_units &= ~mask_of(first % kUnitsPerRegion, 1);
  std::atomic_signal_fence(std::memory_order_release);  // as in set_claimed
  claims_.end(claimed_here.era);
  claimed_here.first = kNoUnit;
  changes_.announce();
}

bool SpanHeap::extend(UnitIndex first, Units from, Units to) {
  LockGuard guard(lock_);
  const std::size_t end = first + to.count;
  if (end > std::size_t{regions_} * kUnitsPerRegion) return false;
  for (std::size_t unit = first + from.count; unit < end; ++unit) {
    const Region& region = region_at(region_of(static_cast<UnitIndex>(unit)));
    if (region.heap != id_) return false;
    if (unit % kUnitsPerRegion == 0 && unit + kUnitsPerRegion <= end) {
      if (region.free_units != kAllUnits) return false;
      unit += kUnitsPerRegion - 1;
    } else if ((region.free_units >> (unit % kUnitsPerRegion) & 1) == 0) {
      return false;
    }
  }
  mark_used(static_cast<UnitIndex>(first + from.count), {to.count - from.count});
  return true;
}

UnitIndex SpanHeap::find(Units count, Units alignment, std::uint8_t user) const {
  if (count.count > kUnitsPerRegion || alignment.count > kUnitsPerRegion) {
    const std::size_t regions = (count.count + kUnitsPerRegion - 1) / kUnitsPerRegion;
    const std::size_t step = alignment.count > kUnitsPerRegion ? alignment.count / kUnitsPerRegion : 1;
    const RegionIndex region = find_regions(regions, step);
    return region == kNoRegion ? kNoUnit : first_unit_of(region);
  }
  constexpr int kLooks = 8;  // a run may be long enough but start off alignment; the next longer list will do
  std::uint64_t lists = lists_used_ & (~std::uint64_t{0} << count.count);
  bool has_looked_across = count.count == 1 || alignment.count != 1;
  while (lists != 0) {
    const auto length = static_cast<unsigned>(std::countr_zero(lists));
    lists &= lists - 1;
    if (length == kUnitsPerRegion && !has_looked_across) {
      if (const UnitIndex across = find_across(count); across != kNoUnit) return across;
      has_looked_across = true;
    }
    int looks = 0;
    for (RegionIndex i = lists_[length].first; i != kNoRegion && looks < kLooks; i = region_at(i).by_run.next, ++looks) {
      if (!is_for(region_at(i), user)) continue;
      const unsigned start = best_run(region_at(i).free_units, static_cast<unsigned>(count.count),
                                      static_cast<unsigned>(alignment.count));
      if (start != kNoRun) return first_unit_of(i) + start;
    }
  }
  if (user != 0) return find(count, alignment, 0);  // in others' regions, before there is growth
  return has_looked_across ? kNoUnit : find_across(count);
}

// The shortest run that crosses a seam and suffices.
UnitIndex SpanHeap::find_across(Units count) const {
  const std::uint64_t seams = seams_used_ & (~std::uint64_t{0} << count.count);
  if (seams == 0) return kNoUnit;
  const RegionIndex index = seams_[std::countr_zero(seams)].first;
  return first_unit_of(index + 1) - static_cast<UnitIndex>(std::countl_one(region_at(index).free_units));
}

// Dirty pages cost nothing, and may be in a cache still. Of the regions dirtied last, the one with the shortest longest run that has
// room in its dirty units alone; the user's own first.
UnitIndex SpanHeap::find_dirty(Units count, Units alignment, std::uint8_t user) const {
  if (count.count > kUnitsPerRegion || alignment.count > kUnitsPerRegion) return kNoUnit;
  constexpr int kLooks = 8;
  UnitIndex best = kNoUnit;
  unsigned best_rank = 2 * kUnitsPerRegion + 1;
  int looks = 0;
  for (RegionIndex i = dirty_.last; i != kNoRegion && looks < kLooks; i = region_at(i).by_age.previous, ++looks) {
    const Region& region = region_at(i);
    const unsigned rank = region.list + (is_for(region, user) ? 0 : kUnitsPerRegion);
    if (rank >= best_rank) continue;
    const unsigned start = best_run(region.dirty_units, static_cast<unsigned>(count.count),
                                    static_cast<unsigned>(alignment.count));
    if (start == kNoRun) continue;
    best = first_unit_of(i) + start;
    best_rank = rank;
  }
  return best;
}

RegionIndex SpanHeap::find_regions(std::size_t count, std::size_t alignment) const {
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

bool SpanHeap::commit_unit_records(RegionIndex index) {
  Region& region = region_at(index);
  if (region.has_unit_records) return true;
  if (!pages::commit_metadata(kRecordBytesPerRegion)) return false;
  region.has_unit_records = true;
  return true;
}

SpanHeap& SpanHeap::begin_at(void* zeros, HeapId id) NEBULA_UNCHECKED {
  auto& heap = *static_cast<SpanHeap*>(zeros);
  new (&heap.lock_) Lock(LockRank::kSpans);
  for (List& list : heap.lists_) list = {};
  for (List& list : heap.seams_) list = {};
  heap.dirty_ = {};
  heap.free_regions_ = reinterpret_cast<std::uint64_t*>(&heap + 1);
  heap.id_ = id;
  return heap;
}

void SpanHeap::lock_quiet() {
  lock_.lock();
  changes_.wait_while(lock_, [&]() NEBULA_UNCHECKED { return grower_ != 0 || purging_.count() != 0 || claims_.count() != 0; });
}

// This thread may be in the middle of anything here, and goes on with it when its signal handler returns.
void SpanHeap::reset_in_child() NEBULA_UNCHECKED {
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

// What is to become of the dirty ones of these units, which are free now: their age counts, or nothing ever does.
inline void SpanHeap::note_idle(RegionIndex index, std::uint32_t units) {
  if (region_at(index).is_huge_tlb) [[unlikely]] settle(index, units);
  else dirty_append(index);
}

void SpanHeap::rebuild() NEBULA_UNCHECKED {
  for (List& list : lists_) list = {};
  for (List& list : seams_) list = {};
  lists_used_ = seams_used_ = 0;
  dirty_ = {};
  dirty_pages_ = 0;
  settled_pages_ = 0;
  patched_regions_ = 0;
  huge_regions_ = 0;
  std::memset(free_regions_, 0, sizeof(FreeRegions));
  for (RegionIndex index = 0; index < regions_; ++index) {
    if (!is_own(index)) continue;
    Region& region = region_at(index);
    std::uint32_t free_units = region.free_units;
    for (unsigned i = 0; i < kUnitsPerRegion; ++i)
      if (unit_use(first_unit_of(index) + i).load(std::memory_order_relaxed) != 0) free_units &= ~mask_of(i, 1);
    region.free_units = 0;
    region.seam = 0;
    region.is_listed = false;
    region.is_dirty_listed = false;
    region.dirty_units = dirty_units_in(index, free_units);
    region.dirty_pages = static_cast<std::uint32_t>(dirty_pages_in(index, free_units));
    region.settled_units = 0;  // at worst the kernel is told once more
    dirty_pages_ += region.dirty_pages;
    set_free_units(index, free_units, End::kBack);
    if (region.dirty_pages != 0) note_idle(index, free_units);
    patched_regions_ += region.is_patched ? 1 : 0;
    huge_regions_ += region.wants_huge_pages ? 1 : 0;
  }
}

void SpanHeap::mark_used(UnitIndex first, Units count) {
  std::size_t unit = first;
  const std::size_t end = first + count.count;
  while (unit < end) {
    const RegionIndex index = region_of(static_cast<UnitIndex>(unit));
    const std::size_t stop = first_unit_of(index) + kUnitsPerRegion < end ? first_unit_of(index) + kUnitsPerRegion : end;
    const auto taken = static_cast<unsigned>(stop - unit);
    const std::uint32_t mask = mask_of(static_cast<unsigned>(unit % kUnitsPerRegion), taken);
    Region& region = region_at(index);
    if (region.dirty_pages != 0) {
      const Pages dirty = pages::committed_in(pages::pages_of(static_cast<UnitIndex>(unit), {taken}));
      if ((region.settled_units & mask) != 0) [[unlikely]] unsettle(index, mask);
      region.dirty_pages -= static_cast<std::uint32_t>(dirty.count);
      region.dirty_units &= ~mask;
      dirty_pages_ -= dirty.count;
      if (region.dirty_pages == 0) dirty_unlink(index);
    }
    set_free_units(index, region.free_units & ~mask, End::kFront);
    unit = stop;
  }
}

void SpanHeap::mark_free(UnitIndex first, Units count) {
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
    const Pages dirty = pages::committed_in(pages::pages_of(static_cast<UnitIndex>(unit), {freed}));
    region.dirty_pages += static_cast<std::uint32_t>(dirty.count);
    region.dirty_units |= dirty_units_in(index, mask);
    dirty_pages_ += dirty.count;
    region.freed_at = now;
    dirty_unlink(index);
    if (region.dirty_pages != 0) note_idle(index, mask);
    set_free_units(index, region.free_units | mask, End::kFront);
    unit = stop;
  }
}

void SpanHeap::set_free_units(RegionIndex index, std::uint32_t units, End end) {
  Region& region = region_at(index);
  region.free_units = units;
  const std::uint64_t bit = std::uint64_t{1} << (index % 64);
  if (units == kAllUnits) {
    free_regions_[index / 64] |= bit;
    region.user = 0;
  } else {
    free_regions_[index / 64] &= ~bit;
  }
  if (index != 0 && is_own(index - 1)) look_at_seam(index - 1);
  look_at_seam(index);

  const unsigned length = longest_run(units);
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
unsigned SpanHeap::seam_at(RegionIndex index) const {
  if (index + 1 >= regions_ || !is_own(index + 1)) return 0;
  const Region& region = region_at(index);
  const Region& next = region_at(index + 1);
  if (region.is_huge_tlb != next.is_huge_tlb || (region.free_units & next.free_units) == kAllUnits) return 0;
  const auto before = static_cast<unsigned>(std::countl_one(region.free_units));
  const auto behind = static_cast<unsigned>(std::countr_one(next.free_units));
  return before != 0 && behind != 0 ? before + behind : 0;
}

void SpanHeap::look_at_seam(RegionIndex index) {
  Region& region = region_at(index);
  const unsigned seam = seam_at(index);
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

void SpanHeap::dirty_unlink(RegionIndex index) {
  Region& region = region_at(index);
  if (!region.is_dirty_listed) return;
  dirty_.remove(index, &Region::by_age);
  region.is_dirty_listed = false;
}

void SpanHeap::dirty_append(RegionIndex index) {
  dirty_.add(index, &Region::by_age, End::kBack);
  region_at(index).is_dirty_listed = true;
}

void SpanHeap::note_dirty(RegionIndex index, std::uint32_t units) {
  Region& region = region_at(index);
  const std::size_t dirty = dirty_pages_in(index, units);
  region.dirty_pages += static_cast<std::uint32_t>(dirty);
  region.dirty_units |= dirty_units_in(index, units);
  dirty_pages_ += dirty;
}

void SpanHeap::settle(RegionIndex index, std::uint32_t units) {
  Region& region = region_at(index);
  const std::uint32_t dirty = units & region.dirty_units;
  region.settled_units |= dirty;
  settled_pages_ += dirty_pages_in(index, dirty);
}

void SpanHeap::forget_dirty(RegionIndex index, std::uint32_t units) {
  Region& region = region_at(index);
  const std::size_t dirty = dirty_pages_in(index, units);
  unsettle(index, units);
  region.dirty_pages -= static_cast<std::uint32_t>(dirty);
  region.dirty_units &= ~units;
  dirty_pages_ -= dirty;
}

void SpanHeap::unsettle(RegionIndex index, std::uint32_t units) {
  Region& region = region_at(index);
  settled_pages_ -= dirty_pages_in(index, region.settled_units & units);
  region.settled_units &= ~units;
}

std::size_t SpanHeap::dirty_pages_in(RegionIndex index, std::uint32_t units) const {
  std::size_t count = 0;
  while (units != 0) {
    const auto start = static_cast<unsigned>(std::countr_zero(units));
    const auto length = static_cast<unsigned>(std::countr_one(units >> start));
    count += pages::committed_in(pages::pages_of(first_unit_of(index) + start, {length})).count;
    units &= ~mask_of(start, length);
  }
  return count;
}

std::uint32_t SpanHeap::dirty_units_in(RegionIndex index, std::uint32_t units) const {
  std::uint32_t dirty = 0;
  for (std::uint32_t rest = units; rest != 0; rest &= rest - 1) {
    const auto unit = static_cast<unsigned>(std::countr_zero(rest));
    constexpr unsigned kUnitsPerWord = 64 / kPagesPerUnit;
    const std::uint64_t word = region_at(index).committed[unit / kUnitsPerWord].load(std::memory_order_relaxed);
    if ((word >> (unit % kUnitsPerWord * kPagesPerUnit) & ((1u << kPagesPerUnit) - 1)) != 0) dirty |= mask_of(unit, 1);
  }
  return dirty;
}

std::uint64_t SpanHeap::dirty_bytes() {
  LockGuard guard(lock_);
  return dirty_pages_ * kPageSize;
}

SpanHeap::Facts SpanHeap::facts() const NEBULA_UNCHECKED {
  return {regions_, mapped_regions_, placement_refusals_, dirty_pages_ * kPageSize, huge_regions_, growths_, growth_refusals_,
          {huge_tlb_.asked_regions, huge_tlb_.regions, huge_tlb_.refusals}};
}

}  // namespace nebula
