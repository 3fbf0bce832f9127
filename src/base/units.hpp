// The grains of memory, as types, so that pages are not mistaken for units or bytes.
//
//   page     4 KiB   what the kernel backs, what is committed, charged and purged
//   unit    64 KiB   what the class map describes, what spans are made of
//   region   2 MiB   what has one record: 32 units, 512 pages
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace nebula {

using Address = std::uintptr_t;
using UnitIndex = std::uint32_t;    // of a unit, counted from the heap's base
using RegionIndex = std::uint32_t;  // of a region, likewise
using PageIndex = std::uint64_t;    // of a page, likewise

inline constexpr std::size_t kKiB = 1024;
inline constexpr std::size_t kMiB = 1024 * kKiB;
inline constexpr std::size_t kGiB = 1024 * kMiB;

inline constexpr unsigned kPageShift = 12;
inline constexpr unsigned kUnitShift = 16;
inline constexpr unsigned kRegionShift = 21;
inline constexpr std::size_t kPageSize = std::size_t{1} << kPageShift;
inline constexpr std::size_t kUnitSize = std::size_t{1} << kUnitShift;
inline constexpr std::size_t kRegionSize = std::size_t{1} << kRegionShift;
inline constexpr unsigned kPagesPerUnit = kUnitSize / kPageSize;
inline constexpr unsigned kUnitsPerRegion = kRegionSize / kUnitSize;
inline constexpr std::uint32_t kAllUnits = ~std::uint32_t{0};  // of a region, as a mask
static_assert(kUnitsPerRegion == 32);
inline constexpr unsigned kPagesPerRegion = kRegionSize / kPageSize;
inline constexpr std::size_t kCacheLine = 64;

// Which node heap: 0 is the one that there always is. The first of them are places: one for each NUMA node or rule. Behind them
// come those of tenants, who have heaps of their own at a place because an account counts what they hold.
using HeapId = std::uint16_t;
inline constexpr HeapId kFirstHeap = 0;
inline constexpr HeapId kNoHeap = 0xffff;
inline constexpr unsigned kPlacesMost = 64;
inline constexpr unsigned kNodeHeapsMost = 1024;

inline constexpr UnitIndex kNoUnit = 0;  // the first one is never used, so what holds no unit is zero
inline constexpr RegionIndex kNoRegion = ~RegionIndex{0};

struct Pages {
  std::size_t count = 0;
  [[nodiscard]] constexpr std::size_t bytes() const { return count << kPageShift; }
  constexpr auto operator<=>(const Pages&) const = default;
  constexpr Pages operator+(Pages other) const { return {count + other.count}; }
  constexpr Pages operator-(Pages other) const { return {count - other.count}; }
};

struct Units {
  std::size_t count = 0;
  [[nodiscard]] constexpr std::size_t bytes() const { return count << kUnitShift; }
  constexpr auto operator<=>(const Units&) const = default;
  constexpr Units operator-(Units other) const { return {count - other.count}; }
};

// value − minus, of counts that were read at different moments: never below zero.
[[nodiscard]] constexpr std::uint64_t at_least_zero(std::uint64_t value, std::uint64_t minus) {
  return value > minus ? value - minus : 0;
}

[[nodiscard]] constexpr Pages pages_for(std::size_t bytes) { return {(bytes + kPageSize - 1) >> kPageShift}; }
[[nodiscard]] constexpr Units units_for(Pages pages) {
  return {(pages.count + kPagesPerUnit - 1) / kPagesPerUnit};
}
[[nodiscard]] constexpr PageIndex first_page_of(UnitIndex unit) { return PageIndex{unit} * kPagesPerUnit; }
[[nodiscard]] constexpr RegionIndex region_of(UnitIndex unit) { return unit / kUnitsPerRegion; }
[[nodiscard]] constexpr UnitIndex first_unit_of(RegionIndex region) { return region * kUnitsPerRegion; }

}  // namespace nebula
