// Sizes to classes and back.
//
//   1 … 64    every 16 bytes to 1,024: class (n + 15) / 16, at most 15 bytes wasted
//   65 … 88   eight per doubling to 8 KiB
//   89 … 96   four per doubling to 32 KiB
//
// The same number is the class map's value for a unit of that class's slabs; 0 is "nothing of ours", and what lies
// above the last class names the other uses of a unit. Only classes have pools, so every other value has capacity 0
// in a thread heap and takes the slow path of free.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/bits.hpp"
#include "base/units.hpp"

namespace nebula {

enum class SizeClass : std::uint8_t {};

inline constexpr unsigned kClassFirst = 1;
inline constexpr unsigned kClassLast = 96;
inline constexpr unsigned kClassEnd = kClassLast + 1;

enum class UnitUse : std::uint8_t {
  kNothing = 0,
  kLargeHead = kClassEnd,
  kLargeInside,
  kSampled,  // one small object by itself, which a profile follows
  kBump,     // objects of mixed sizes, one behind the other
  kEnd,
};
inline constexpr unsigned kUnitUses = 104;  // the room of per-use arrays, a multiple of 8
static_assert(static_cast<unsigned>(UnitUse::kEnd) <= kUnitUses);

inline constexpr std::size_t kGranule = 16;
inline constexpr std::size_t kFineMax = 1024;    // the largest size whose class is a shift
inline constexpr std::size_t kSmallMax = 32 * kKiB;  // the largest size that has a class

struct SizeClassTable {
  std::uint32_t slot_size[kUnitUses];
  std::uint64_t reciprocal[kUnitUses];  // of slot_size, times 2^64, rounded up
  std::uint16_t slots_per_slab[kUnitUses];
  std::uint16_t slots_per_pool[kUnitUses];        // what a pool may hold of a class that is only allocated or only freed
  std::uint16_t slots_per_pool_swing[kUnitUses];  // the most, for a class that swings between the two
  std::uint16_t slots_per_pool_first[kUnitUses];  // what it starts with
  std::uint8_t units_per_slab[kUnitUses];
  std::uint8_t batch[kUnitUses];                   // slots that travel together through the depot
  std::uint8_t slots_per_return[kUnitUses];        // what waits on its way to another node heap
  std::uint8_t coarse_class[kSmallMax / 128 + 1];  // by (n + 127) / 128, for n above kFineMax
};

inline constexpr std::size_t kSlabLossMost = 16;  // a slab is as short as loses no more than one part in so many at its end
inline constexpr std::size_t kPoolBytes = 32 * kKiB;
inline constexpr std::size_t kPoolBytesSwing = 192 * kKiB;
inline constexpr std::size_t kPoolBytesSwingSmallest = 256 * kKiB;  // of slots smaller than a cache line
inline constexpr unsigned kPoolSlotsMost = 2000;
inline constexpr unsigned kPoolSlotsMostSwing = 8192;
inline constexpr unsigned kPoolSlotsLeast = 8;
inline constexpr unsigned kPoolSlotsLeastSwing = 16;
inline constexpr unsigned kBatchMost = 62;

namespace detail {

consteval SizeClassTable make_size_class_table() {
  SizeClassTable table = {};
  unsigned c = kClassFirst;
  for (std::size_t size = kGranule; size <= kFineMax; size += kGranule)
    table.slot_size[c++] = static_cast<std::uint32_t>(size);
  for (std::size_t doubling = kFineMax; doubling < 8 * kKiB; doubling *= 2)
    for (std::size_t step = 1; step <= 8; ++step)
      table.slot_size[c++] = static_cast<std::uint32_t>(doubling + doubling / 8 * step);
  for (std::size_t doubling = 8 * kKiB; doubling < kSmallMax; doubling *= 2)
    for (std::size_t step = 1; step <= 4; ++step)
      table.slot_size[c++] = static_cast<std::uint32_t>(doubling + doubling / 4 * step);

  for (c = kClassFirst; c < kClassEnd; ++c) {
    const std::size_t size = table.slot_size[c];
    std::size_t units = 1;
    while (units * kUnitSize % size > units * kUnitSize / kSlabLossMost) units *= 2;
    const std::size_t pool = kPoolBytes / size;
    const std::size_t most = std::clamp<std::size_t>(pool, kPoolSlotsLeast, kPoolSlotsMost);
    const std::size_t swing = (size < kCacheLine ? kPoolBytesSwingSmallest : kPoolBytesSwing) / size;
    const std::size_t first = size <= 256 ? 32 : size <= kFineMax ? 16 : size <= 8 * kKiB ? 8 : 4;
    table.reciprocal[c] = ~std::uint64_t{0} / size + 1;
    table.units_per_slab[c] = static_cast<std::uint8_t>(units);
    table.slots_per_slab[c] = static_cast<std::uint16_t>(units * kUnitSize / size);
    table.slots_per_pool[c] = static_cast<std::uint16_t>(most);
    table.slots_per_pool_swing[c] = static_cast<std::uint16_t>(std::clamp<std::size_t>(swing, kPoolSlotsLeastSwing, kPoolSlotsMostSwing));
    table.slots_per_pool_first[c] = static_cast<std::uint16_t>(first);
    table.batch[c] = static_cast<std::uint8_t>(most / 2 > kBatchMost ? kBatchMost : most / 2);
  }
  // A batch; of large slots two, for a trip has a price of its own.
  for (c = kClassFirst; c < kClassEnd; ++c)
    table.slots_per_return[c] = static_cast<std::uint8_t>(table.batch[c] < 16 ? 2 * table.batch[c] : table.batch[c]);
  c = kClassFirst;
  for (std::size_t i = 0; i <= kSmallMax / 128; ++i) {
    while (table.slot_size[c] < i * 128) ++c;
    table.coarse_class[i] = static_cast<std::uint8_t>(c);
  }
  return table;
}

}  // namespace detail

inline constexpr SizeClassTable kSizeClasses = detail::make_size_class_table();
static_assert(kSizeClasses.slot_size[kClassLast] == kSmallMax);
static_assert(kSizeClasses.slot_size[64] == kFineMax);

[[nodiscard]] constexpr unsigned index_of(SizeClass c) { return static_cast<unsigned>(c); }
[[nodiscard]] constexpr SizeClass size_class(unsigned index) { return static_cast<SizeClass>(index); }
[[nodiscard]] constexpr bool is_size_class(unsigned unit_use) { return unit_use - kClassFirst < kClassEnd - kClassFirst; }

// The class of a size; 0 has class 0, which is no class. size at most kSmallMax.
[[nodiscard]] constexpr unsigned class_index_for(std::size_t size) {
  return size <= kFineMax ? static_cast<unsigned>((size + kGranule - 1) / kGranule)
                          : kSizeClasses.coarse_class[(size + 127) / 128];
}

[[nodiscard]] constexpr std::size_t slot_size(SizeClass c) { return kSizeClasses.slot_size[index_of(c)]; }
[[nodiscard]] constexpr unsigned slots_per_slab(SizeClass c) { return kSizeClasses.slots_per_slab[index_of(c)]; }
[[nodiscard]] constexpr unsigned units_per_slab(SizeClass c) { return kSizeClasses.units_per_slab[index_of(c)]; }

// The slot that a byte of a slab belongs to, and whether it is the slot's first. One multiplication by the reciprocal R
// gives both: the upper half of offset * R is the quotient, the lower is below R exactly when there is no remainder
// (Lemire, Kaser and Kurz, "Faster remainder by direct computation", 2019). Exact for offsets below 2^32.
struct SlotPlace {
  std::uint64_t slot;
  std::uint64_t remainder;  // in parts of 2^-64 slots
  [[nodiscard]] constexpr bool is_start(std::uint64_t reciprocal) const { return remainder < reciprocal; }
};
[[nodiscard]] constexpr SlotPlace slot_place(std::uint64_t reciprocal, std::size_t offset) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = Wide{offset} * reciprocal;
  return {static_cast<std::uint64_t>(product >> 64), static_cast<std::uint64_t>(product)};
}
[[nodiscard]] constexpr unsigned slot_at(SizeClass c, std::size_t offset) {
  return static_cast<unsigned>(slot_place(kSizeClasses.reciprocal[index_of(c)], offset).slot);
}

// The smallest class whose slots hold `size` bytes and all start at multiples of `alignment` (a power of two, at most
// a page): slabs start at multiples of 64 KiB, so it is enough that the slot size is a multiple. 0 when there is none.
//
// The size rounded up to the alignment names it: classes rise by equal steps within a doubling; a step that is a multiple
// of the alignment makes every slot size one, and to a smaller step every rounded size is a slot size itself.
[[nodiscard]] constexpr unsigned class_index_for_aligned(std::size_t size, std::size_t alignment) {
  if (alignment > kPageSize || size > kSmallMax) return 0;
  return class_index_for(round_up(size + (size == 0), alignment));
}

}  // namespace nebula
