// Pages of slabs that hold nothing go back to the system, although the slab cannot: some slot of it is outside. Nothing is taken from
// the slab meanwhile, and slots come back to it as ever.
#include <bit>

#include "node_heap/node_heap.hpp"

namespace nebula {
namespace {

constexpr std::size_t kUnitsPerSlice = 1024;
constexpr std::size_t kSlabsPerSlice = 128;
constexpr std::size_t kBytesPerSlice = 512 * kKiB;  // some 50 microseconds of the kernel's

// Of what use the unit is as the first of a slab; false: of none.
bool starts_slab(UnitIndex unit, SizeClass& c) {
  const unsigned use = unit_use(unit).load(std::memory_order_relaxed);
  if (!is_size_class(use)) return false;
  c = size_class(use);
  return slab::first_unit(unit, c) == unit;
}

}  // namespace

std::size_t NodeHeap::purge_slab_pages(std::size_t enough, Chooses chooses, const Account* account) {
  std::size_t purged = 0;
  const std::uint64_t end = heap_map.mapped_units.load(std::memory_order_relaxed);
  SizeClass c{};
  for (UnitIndex unit = 0; unit < end && purged < enough; ++unit)
    if (starts_slab(unit, c) && chooses(heap_of_slab(unit, c), account)) purged += purge_pages_of(unit, c, Slabs::kAny);
  return purged;
}

bool NodeHeap::purge_quiet_slabs(UnitIndex& unit, std::size_t& purged) {
  purged = 0;
  const std::uint64_t end = heap_map.mapped_units.load(std::memory_order_relaxed);
  const std::uint64_t stop = unit + kUnitsPerSlice;
  std::size_t slabs = 0;
  SizeClass c{};
  for (; unit < end && unit < stop && slabs < kSlabsPerSlice && purged < kBytesPerSlice; ++unit) {
    if (!starts_slab(unit, c)) continue;
    ++slabs;
    purged += purge_pages_of(unit, c, Slabs::kQuiet);
  }
  return unit >= end;
}

std::size_t NodeHeap::purge_pages_of(UnitIndex unit, SizeClass c, Slabs which) {
  const RegionIndex region = region_of(unit);
  Home home = home_to_use(unit, c);
  std::uint64_t pages = 0;
  for (;;) {
    Class& of = class_at(home, c);
    LockGuard guard(of.lock);
    const std::uint32_t seen = of.purges.so_far();
    if (!is_guarded(unit, c, home)) {
      if (!slab::is_of_class(unit, c)) return 0;
      home = home_to_use(unit, c);
      continue;
    }
    Slab& slab = slab::at(unit);
    if (region_at(region).is_huge_tlb) return 0;
    if (slab.is_busy) {
      if (which == Slabs::kQuiet) return 0;
      of.purges.wait(of.lock, seen);  // what another thread purges is memory on its way back: the caller counts on it
      continue;
    }
    if (which == Slabs::kQuiet && !slab.is_quiet) {
      slab.is_quiet = true;
      return 0;
    }
    pages = slab::free_pages(unit);
    if (pages == 0) return 0;
    if (which == Slabs::kQuiet && static_cast<std::size_t>(std::popcount(pages)) < units_per_slab(c) * kPagesPerUnit / 4) return 0;
    slab.is_busy = true;
    break;
  }
  NodeHeap& heap = heap_of(home);
  // A huge page is resident as a whole, and the kernel would make one of the region again.
  heap.spans().break_huge_page(region);
  std::size_t purged = 0;
  while (pages != 0) {
    const auto first = static_cast<unsigned>(std::countr_zero(pages));
    const auto count = static_cast<unsigned>(std::countr_one(pages >> first));
    if (pages::purge({first_page_of(unit) + first, {count}})) purged += count * kPageSize;
    pages = first + count < 64 ? pages & (~std::uint64_t{0} << (first + count)) : 0;
  }
  Class& of = class_at(home, c);  // nobody takes over a slab that is busy
  LockGuard guard(of.lock);
  Slab& slab = slab::at(unit);
  slab.is_busy = false;
  of.purges.announce();
  if (purged != 0) {
    heap.unlink(of, unit);
    slab.has_holes = true;
  }
  if (purged != 0 && slab.is_empty() && slab.bump != 0) heap.release(of, unit);  // kept for its pages, which are gone
  else heap.relink(of, unit);
  return purged;
}

}  // namespace nebula
