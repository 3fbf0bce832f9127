// What becomes of dirty pages that no span holds. Given back, they are clean and credited; or, where the policy says so of idle
// ones, the kernel is advised about them and they stay dirty: their units are settled then, and are not told of again
// before they were used. Those of hugetlbfs are settled as soon as they are free, and never given back.
#include <bit>

#include "base/bits.hpp"
#include "diag/message.hpp"
#include "os/memory.hpp"
#include "os/process.hpp"
#include "spans/span_part.hpp"

namespace nebula {
namespace {

using Policy = config::PagePolicy;

constexpr std::uint64_t kKeptDirtyBytes = 4 * kMiB;
constexpr unsigned kRegionsPerPurge = 4;  // keeps the longest call under about a millisecond
constexpr unsigned kRegionsPerWantedPurge = 16;  // where the delay is asked for

// In one call, and the least that is worth a call to the kernel.
unsigned most_regions() {
  if (page_policy.purge == Policy::Purge::kNow) return ~0u;
  return page_policy.purge == Policy::Purge::kKeepSome ? kRegionsPerPurge : kRegionsPerWantedPurge;
}
std::size_t least_pages() { return page_policy.purge == Policy::Purge::kNow ? 1 : kPagesPerUnit; }

}  // namespace

// One region's part in a purge, done without the lock: the units are out of circulation.
struct SpanPart::PurgeJob {
  RegionIndex index;
  std::uint32_t units;
  pages::Extent extent;
  os::Advice advice;
  bool has_huge_pages;
  std::size_t dirty_bytes;
  std::size_t purged_bytes = 0;
  std::uint32_t settled_units = 0;
  bool is_placed = true;
};

unsigned SpanPart::regions_per_purge() { return most_regions(); }

std::size_t SpanPart::purge_idle(Idle& idle) {
  LockGuard guard(lock_);
  const std::uint64_t now = os::coarse_milliseconds();
  std::size_t purged = 0;
  std::size_t spare = spare_pages();
  for (; idle.regions_left != 0; --idle.regions_left) {
    const RegionIndex index = next_idle(now, idle);
    if (index == kNoRegion) break;
    if (kept_.count != 0) {
      const std::size_t going = dirty_in(index, region_at(index).dirty_units & ~region_at(index).settled_units).pages;
      if (going > spare) break;
      spare -= going;
    }
    purged += purge_region(index, Purge::kIdle);
  }
  return purged;
}

void SpanPart::keep(Pages pages) {
  LockGuard guard(lock_);
  kept_ = pages;
}

// What may go before less is left than is kept. Two purges at a time would each count the same pages.
std::size_t SpanPart::spare_pages() const {
  if (kept_.count == 0) return ~std::size_t{0};
  if (purging_.count() != 0 || dirty_.first == kNoRegion) return 0;
  std::size_t held = 0;
  for (RegionIndex index = 0; index < regions_; ++index) {
    if (!is_own(index)) continue;
    held += pages::committed_in(pages::pages_of(index)).count;
    if (!region_at(index).is_huge_tlb) held -= dirty_in(index, region_at(index).settled_units).pages;
  }
  return at_least_zero(held, kept_.count);
}

std::size_t SpanPart::purge_everything(std::size_t enough) {
  LockGuard guard(lock_);
  std::size_t purged = 0;
  while (dirty_.first != kNoRegion && purged < enough) purged += purge_region(dirty_.first, Purge::kEverything);
  // What is settled, or was refused by the kernel, is not in the list.
  for (RegionIndex index = 0; index < regions_ && purged < enough; ++index)
    if (is_own(index) && region_at(index).dirty_pages != 0 && !region_at(index).is_huge_tlb) purged += purge_region(index, Purge::kEverything);
  // What other threads are purging is memory on its way back: the caller may count on it.
  changes_.wait_while(lock_, [&]() NEBULA_UNCHECKED { return purging_.count() != 0; });
  return purged;
}

// The oldest dirty region, when there is more dirty in all parts than is kept and it was idle for long enough.
RegionIndex SpanPart::next_idle(std::uint64_t now, const Idle& idle) const {
  if (page_policy.purge == Policy::Purge::kNever || dirty_.first == kNoRegion) return kNoRegion;
  if (page_policy.purge == Policy::Purge::kNow) return dirty_.first;
  if (region_at(dirty_.first).freed_at + page_policy.delay_milliseconds > now) return kNoRegion;
  if (page_policy.purge != Policy::Purge::kKeepSome) return dirty_.first;
  const std::uint64_t dirty = dirty_pages_ + idle.dirty_elsewhere;
  const std::uint64_t in_use = at_least_zero(process_account.committed(), dirty * kPageSize);
  const std::uint64_t kept = in_use / 8 > kKeptDirtyBytes ? in_use / 8 : kKeptDirtyBytes;
  return at_least_zero(dirty, settled_pages_ + idle.settled_elsewhere) * kPageSize > kept ? dirty_.first : kNoRegion;
}

// The free units worth a call to the kernel: with dirty pages, idle ones in runs of so many of them.
std::uint32_t SpanPart::units_to_purge(RegionIndex index, Purge how) const {
  const Region& region = region_at(index);
  const std::uint32_t candidates = how == Purge::kIdle ? region.free_units & ~region.settled_units : region.free_units;
  const std::size_t least = how == Purge::kIdle ? least_pages() : 1;
  std::uint32_t chosen = 0;
  std::uint32_t run = 0;
  std::size_t run_pages = 0;
  for (unsigned i = 0; i <= kUnitsPerRegion; ++i) {
    std::size_t dirty = 0;
    if (i < kUnitsPerRegion && (candidates >> i & 1) != 0)
      dirty = pages::committed_in(pages::pages_of(first_unit_of(index) + i, {1})).count;
    if (dirty != 0) {
      run |= std::uint32_t{1} << i;
      run_pages += dirty;
      continue;
    }
    if (run_pages >= least) chosen |= run;
    run = 0;
    run_pages = 0;
  }
  return chosen;
}

std::size_t SpanPart::purge_region(RegionIndex index, Purge how) {
  const std::uint32_t chosen = units_to_purge(index, how);
  dirty_unlink(index);  // what stays dirty (too small, settled, or refused) is listed again by the next free here
  return chosen == 0 ? 0 : purge_units(index, chosen, how == Purge::kIdle ? page_policy.idle_pages : os::Advice::kNone);
}

void SpanPart::break_huge_page(RegionIndex index) {
  LockGuard guard(lock_);
  const Region& region = region_at(index);
  if (!is_own(index) || !region.wants_huge_pages) return;
  dirty_unlink(index);
  purge_units(index, region.free_units, os::Advice::kNone);
}

std::size_t SpanPart::purge_units(RegionIndex index, std::uint32_t chosen, os::Advice advice) {
  Region& region = region_at(index);
  const bool is_whole = region.free_units == kAllUnits;
  const bool heals = region.is_patched && is_whole && advice == os::Advice::kNone;
  const bool breaks_huge_page = region.wants_huge_pages && !is_whole;
  // A huge page goes with all that is free under it, dirty or not; a patched region heals as a whole.
  const pages::Extent extent = region.wants_huge_pages ? pages::Extent::kWhole : pages::Extent::kCommitted;
  if (region.wants_huge_pages || heals) chosen = region.free_units;
  if (breaks_huge_page) {
    region.wants_huge_pages = false;
    --huge_regions_;
  }
  PurgeJob job = {index, chosen, extent, advice, region.wants_huge_pages, dirty_in(index, chosen).pages * kPageSize};
  forget_dirty(index, chosen);
  // Out of circulation: nobody else can take these units while the lock is released.
  set_free_units(index, region.free_units & ~chosen, End::kFront);
  const std::uint32_t era = purging_.begin();
  lock_.unlock();

  // Else the kernel would soon put a huge page back under the whole region.
  if (breaks_huge_page)
    os::advise_huge_pages(address_of_unit(first_unit_of(index)), kRegionSize, os::HugePages::kUnwanted);
  if (heals) heal(job);
  purge_runs(job);

  lock_.lock();
  purging_.end(era);
  if (!job.is_placed) ++placement_refusals_;
  if (heals && job.units == 0) {
    region.is_patched = false;
    first_part().patched_regions_.fetch_sub(1, std::memory_order_relaxed);
  }
  changes_.announce();
  set_free_units(index, region.free_units | chosen, End::kBack);
  note_dirty(index, chosen);
  settle(index, job.settled_units);
  arrivals_.fetch_add(1, std::memory_order_relaxed);
  return_if_whole(index);
  if (job.settled_units != 0 && tells(Level::kDebug)) any_news.store(true, std::memory_order_relaxed);
  return job.purged_bytes;
}

// Leaves the job no units when it has succeeded.
void SpanPart::heal(PurgeJob& job) const {
  if (!pages::renew(job.index)) return;
  if (placement_.policy != os::Policy::kKernel) job.is_placed = pages::place_regions(job.index, 1, placement_);
  const os::HugePages advice = job.has_huge_pages ? os::HugePages::kWanted : os::HugePages::kUnwanted;
  os::advise_huge_pages(address_of_unit(first_unit_of(job.index)), kRegionSize, advice);
  job.purged_bytes = job.dirty_bytes;
  job.units = 0;
}

// Of a kernel that refuses the advice the pages are given back, as without it.
void SpanPart::purge_runs(PurgeJob& job) const {
  for (std::uint32_t rest = job.units; rest != 0;) {
    const auto start = static_cast<unsigned>(std::countr_zero(rest));
    const auto length = static_cast<unsigned>(std::countr_one(rest >> start));
    const pages::Range range = pages::pages_of(first_unit_of(job.index) + start, {length});
    const std::size_t bytes = pages::committed_in(range).bytes();
    if (job.advice != os::Advice::kNone && pages::advise(range, job.extent, job.advice))
      job.settled_units |= mask_of(start, length);
    else if (pages::purge(range, job.extent))
      job.purged_bytes += bytes;
    rest &= ~mask_of(start, length);
  }
}

}  // namespace nebula
