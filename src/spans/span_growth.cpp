// How a span heap comes by more regions: behind the frontier, one thread at a time, with the lock released while the kernel
// is asked. From the pool of huge pages where that is wanted (NEBULA_HUGETLB) and it has some, in the smallest step that serves; else
// ordinary memory, in growing steps, for which transparent huge pages may be asked.
#include "base/bits.hpp"
#include "budget/heap_accounts.hpp"
#include "diag/message.hpp"
#include "os/memory.hpp"
#include "spans/frontier.hpp"
#include "spans/span_part.hpp"

namespace nebula {
namespace {

using Policy = config::PagePolicy;

constexpr std::size_t kGrowthLeast = 2;   // regions
constexpr std::size_t kGrowthMost = 32;

// Below this much heap, pages stay small: a small program must not pay for huge ones.
constexpr std::size_t kSmallPagesBytes = 32 * kMiB;

bool map_records(std::size_t regions) {
  return pages::map_views(regions * kUnitsPerRegion) &&
         pages::map_metadata(pages::Area::kClassMap, regions * kUnitsPerRegion) &&
         pages::map_metadata(pages::Area::kRegionRecords, regions * kRegionRecordBytes) &&
         pages::map_metadata(pages::Area::kUnitRecords, regions * kUnitsPerRegion * kUnitRecordBytes);
}

}  // namespace

struct SpanPart::Growth {
  RegionIndex first = 0;
  std::size_t least = 0;   // regions
  std::size_t wanted = 0;  // and what is mapped in the end
  bool is_dense = false;
  bool is_small_heap = false;
  bool fits_accounts = false;
  bool is_huge_tlb = false;  // paid for, and mapped if it comes to that
  os::MapResult result = os::MapResult::kRefused;
  bool is_placed = true;
  bool has_huge_pages = false;
};

// True when something was mapped, so that another look is worth it. By the holder of the frontier.
bool SpanPart::grow(Units count, Units alignment) {
  Growth growth;
  if (!plan(count, alignment, growth)) return false;
  const RegionIndex mapped_end = frontier.regions();
  if (!frontier.charge_records(growth.first + growth.wanted)) {
    growth.wanted = growth.least;
    if (!frontier.charge_records(growth.first + growth.wanted)) return false;
  }
  const bool is_paid = charge_huge_tlb(growth);
  grower_ = thread_token();
  lock_.unlock();

  if (is_paid) map_huge_tlb(growth);
  if (growth.result == os::MapResult::kRefused) map_ordinary(growth);

  lock_.lock();
  grower_ = 0;
  changes_.announce();
  if (is_paid && !growth.is_huge_tlb) {
    ++huge_tlb_.refusals;
    heap_accounts::credit_pages(id_, growth.least * kRegionSize);
  }
  if (growth.result == os::MapResult::kRefused) {
    ++growth_refusals_;
    frontier.credit_records(mapped_end);
    return false;
  }
  if (growth.result == os::MapResult::kTaken) {
    // Something else lives there: leave a hole of one region and go on behind it.
    frontier.skip_to(growth.first + 1);
    frontier.credit_records(growth.first + 1);
    return true;
  }
  frontier.credit_records(growth.first + growth.wanted);  // perhaps less than at first
  book(growth);
  return true;
}

// Where, and how much. False: the range is used up.
bool SpanPart::plan(Units count, Units alignment, Growth& growth) const {
  const std::size_t capacity = pages::region_capacity();
  const std::size_t step = alignment.count > kUnitsPerRegion ? alignment.count / kUnitsPerRegion : 1;
  const std::size_t needed = (count.count + kUnitsPerRegion - 1) / kUnitsPerRegion;

  // This heap's free regions at the end need not be mapped again.
  const RegionIndex mapped_end = frontier.regions();
  std::size_t start = mapped_end;
  while (start > 0 && (free_regions_[(start - 1) / 64] >> ((start - 1) % 64) & 1) != 0) --start;
  start = round_up(start, step);
  if (mapped_end == 0 && (count.count >= kUnitsPerRegion || step > 1)) start = step;  // region 0 lacks its first unit
  if (start > capacity || needed > capacity - start) return false;
  // A large alignment may leave a gap: it stays unmapped, for ever.
  growth.first = static_cast<RegionIndex>(start > mapped_end ? start : mapped_end);
  growth.least = start + needed > growth.first ? start + needed - growth.first : 1;
  std::size_t wanted = mapped_regions_ / 8;
  if (wanted < kGrowthLeast) wanted = kGrowthLeast;
  if (wanted > kGrowthMost) wanted = kGrowthMost;
  wanted += (growth.first + wanted) % 2;  // pairs, that share a line of the class map
  if (mapped_end == 0) wanted = 1;
  if (wanted < growth.least) wanted = growth.least;
  if (wanted > capacity - growth.first) wanted = capacity - growth.first;
  growth.wanted = wanted;

  // Either what is asked for fills the regions, or those there are were filled before new ones were needed: a region that stays
  // half empty must not be resident as a whole.
  growth.is_dense = (count.count >= kUnitsPerRegion && count.count * 5 >= needed * kUnitsPerRegion * 4) ||
                    process_account.committed() / 4 >= mapped_end * std::uint64_t{kRegionSize} / 5;
  growth.is_small_heap = mapped_regions_ * kRegionSize < kSmallPagesBytes && wanted * kRegionSize < kSmallPagesBytes;
  growth.fits_accounts = (mapped_regions_ + wanted) * kRegionSize <= heap_accounts::least_limit_of(id_) / 4;
  return wanted != 0;
}

// Huge pages of the pool are charged whole, before they are mapped. Not for tenants, whose accounts must be able to fall to
// nothing, nor where region 0 lacks its first unit.
bool SpanPart::charge_huge_tlb(Growth& growth) {
  const heap_accounts::Accounts& accounts = heap_accounts::of(id_);
  if (!page_policy.uses_huge_tlb || growth.first == 0 || accounts.thread != nullptr || accounts.module != nullptr) return false;
  huge_tlb_.asked_regions += growth.least;
  Account* const refused_before = refused_by;
  growth.is_huge_tlb = heap_accounts::charge_pages(id_, growth.least * kRegionSize, Account::Reserve::kMustLeave);
  if (growth.is_huge_tlb) return true;
  ++huge_tlb_.refusals;
  refused_by = refused_before;  // ordinary pages may be had within the limit
  return false;
}

// Touched at once, because a huge page that is not to be had later (of this node, or in this control group) would be a SIGBUS.
void SpanPart::map_huge_tlb(Growth& growth) const {
  growth.is_huge_tlb = false;
  if (!map_records(growth.first + growth.least)) return;
  growth.result = pages::map_regions(growth.first, growth.least, os::Backing::kHugeTlb);
  if (growth.result != os::MapResult::kMapped) return;
  if (placement_.policy != os::Policy::kKernel)
    growth.is_placed = pages::place_regions(growth.first, growth.least, placement_);
  const os::PopulateResult populated = pages::populate_regions(growth.first, growth.least);
  if (populated == os::PopulateResult::kDone ||
      (populated == os::PopulateResult::kUnknown && placement_.policy != os::Policy::kBind)) {
    growth.is_huge_tlb = true;
    growth.wanted = growth.least;
    return;
  }
  pages::unmap_regions(growth.first, growth.least);
  growth.result = os::MapResult::kRefused;
  growth.is_placed = true;
}

void SpanPart::map_ordinary(Growth& growth) const {
  for (;;) {
    growth.result = map_records(growth.first + growth.wanted) ? pages::map_regions(growth.first, growth.wanted, os::Backing::kPages)
                                                             : os::MapResult::kRefused;
    if (growth.result != os::MapResult::kRefused || growth.wanted == growth.least) break;
    growth.wanted = growth.wanted / 2 > growth.least ? growth.wanted / 2 : growth.least;
  }
  if (growth.result != os::MapResult::kMapped) return;
  if (placement_.policy != os::Policy::kKernel)
    growth.is_placed = pages::place_regions(growth.first, growth.wanted, placement_);
  // Said without asking /sys whether it matters: a program in a sandbox may not be allowed to open a file any more.
  const Address where = address_of_unit(first_unit_of(growth.first));
  // A huge page is resident as a whole, a budget counts what is committed of it: under one, only the first quarter of
  // the budget is backed by huge pages, so that what the kernel shows stays close to what is counted.
  const bool fits_budget =
      growth.fits_accounts && (growth.first + growth.wanted) * kRegionSize <= process_account.hard_limit() / 4;
  const bool wish = page_policy.huge_pages == Policy::HugePages::kAuto ? !growth.is_small_heap && growth.is_dense && fits_budget
                                                                      : page_policy.huge_pages == Policy::HugePages::kAlways;
  const os::HugePages advice = wish ? os::HugePages::kWanted : os::HugePages::kUnwanted;
  growth.has_huge_pages = growth.first != 0 && os::advise_huge_pages(where, growth.wanted * kRegionSize, advice) && wish;
}

bool SpanPart::may_grow_ahead() const NEBULA_UNCHECKED {
  return mapped_regions_ * kRegionSize < kSmallPagesBytes && page_policy.huge_pages != Policy::HugePages::kAlways && !is_refused_growth_;
}

void SpanPart::book(const Growth& growth) {
  ++growths_;
  if (tells(Level::kDebug)) any_news.store(true, std::memory_order_relaxed);
  if (!growth.is_placed) ++placement_refusals_;
  if (growth.has_huge_pages) huge_regions_ += growth.wanted;
  if (growth.is_huge_tlb) huge_tlb_.regions += growth.wanted;
  publish(growth);
}

void SpanPart::publish(const Growth& growth) {
  for (std::size_t i = 0; i < growth.wanted; ++i) {
    const auto index = static_cast<RegionIndex>(growth.first + i);
    Region& region = region_at(index);
    region.is_listed = false;  // a thread that a fork left behind may have come as far as listing it
    region.seam = 0;
    region.heap = id_;
    join_neighbours(index);
    region.wants_huge_pages = growth.has_huge_pages;
    region.is_huge_tlb = growth.is_huge_tlb;
    const std::uint32_t units = index == 0 ? kAllUnits & ~std::uint32_t{1} : kAllUnits;
    if (growth.is_huge_tlb) {
      pages::note_committed(pages::pages_of(index));
      note_dirty(index, units);
      settle(index, units);
    }
    begin_free_units(index, units, End::kBack);
  }
  regions_ = static_cast<RegionIndex>(growth.first + growth.wanted);
  mapped_regions_ += growth.wanted;
  arrivals_.fetch_add(1, std::memory_order_relaxed);
  frontier.advance_to(regions_);
}

void SpanPart::set_placement(const os::Placement& placement) {
  LockGuard guard(lock_);
  placement_ = placement;
  if (placement_.policy == os::Policy::kKernel) return;
  for (RegionIndex index = 0; index < regions_; ++index) {
    if (!is_own(index)) continue;
    if (!pages::place_regions(index, 1, placement_)) ++placement_refusals_;
  }
}

}  // namespace nebula
