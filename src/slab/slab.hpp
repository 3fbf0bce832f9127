// One slab: 64 KiB, of some sizes 128 or 256, cut into equal slots, its state out of line in the unit record of its first unit.
//
//   record   │ links, class, bump, free, … │ bitmap: a bit set = this slot is in the slab                  │
//   memory   │ slot 0 │ slot 1 │ … │ slot bump-1 │ never used: clean unless the span was dirty              │
//            │          ↑ pages up to the mark are committed, but for holes: pages all of whose slots came back, purged since │
//
//   slots outside the slab = bump − free;   slots to be had = free + (capacity − bump)
//
// Everything here runs under the lock of the slab's class and home. No word of ours lies in a slot, so a use after free cannot
// corrupt the allocator, and a bit already set when a slot comes back is a double free found for nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.hpp"
#include "pages/region.hpp"
#include "size_class/size_class.hpp"

namespace nebula {

inline constexpr unsigned kBitmapWords = kUnitSize / kGranule / 64 + 1;

struct alignas(kCacheLine) Slab {
  UnitIndex next;  // in its list, by fill
  UnitIndex previous;
  std::uint16_t capacity;
  std::uint16_t bump;       // slots below have been handed out at least once
  std::uint16_t free;       // of these, the ones that are back
  std::uint16_t first_word; // no slot that came back is in the words of the bitmap below
  std::uint16_t quarter;    // of the capacity, rounded up: the step of the lists by fill
  SizeClass size_class;
  std::uint8_t list;        // which list it hangs in
  bool is_busy : 1;         // pages of it are being purged: it gives nothing, and stays where it is
  bool has_holes : 1;       // pages below the mark are clean: no slot that lies in one is outside
  bool is_quiet : 1;        // it gave nothing since a purge of quiet slabs came by
  bool is_idle : 1;         // it is empty, and gave nothing since the last look for empty ones that nobody needs
  // The node heap and shard whose lock guards this slab. The shard changes under the locks of both, and is read without to
  // find the one to take; the heap never changes.
  std::atomic<std::uint16_t> home;
  // Never handed out counts as in the slab, and so does the end of the memory that is no slot: whatever is freed there
  // finds its bit set.
  std::uint64_t bitmap[kBitmapWords];
  std::uint64_t seen_by;  // whose views have it though it is not theirs: bit i for the tenants' heaps with i modulo 64
  std::uint64_t padding[10];

  [[nodiscard]] unsigned available() const { return free + static_cast<unsigned>(capacity - bump); }
  [[nodiscard]] bool is_empty() const { return free == bump; }
  [[nodiscard]] unsigned outside() const { return static_cast<unsigned>(bump - free); }
};
static_assert(sizeof(Slab) == kUnitRecordBytes);
static_assert(offsetof(Slab, home) + sizeof(Slab::home) <= kBehindSlabHome);

namespace slab {

[[nodiscard]] inline Slab& at(UnitIndex unit) {
  return *reinterpret_cast<Slab*>(record_map.unit_records + std::size_t{unit} * kUnitRecordBytes);
}
// Whether the unit is part of a slab of this class.
[[nodiscard]] inline bool is_of_class(UnitIndex unit, SizeClass c) {
  return unit_use(unit).load(std::memory_order_relaxed) == index_of(c);
}
// Slabs start at multiples of their size.
[[nodiscard]] inline UnitIndex first_unit(UnitIndex unit, SizeClass c) {
  return unit & ~(static_cast<UnitIndex>(units_per_slab(c)) - 1);
}

void begin(UnitIndex unit, SizeClass c);

// Up to 1 KiB a request counts as small enough to use the reserve of a budget.
[[nodiscard]] inline Account::Reserve reserve_for(SizeClass c) {
  return slot_size(c) <= kFineMax ? Account::Reserve::kMayUse : Account::Reserve::kMustLeave;
}

// The pages up to the mark: what a slab holds committed, but for holes.
[[nodiscard]] pages::Range used_range(UnitIndex unit);

// The committed ones among its pages, bit by bit, that hold nothing: each slot in them is in the slab, or was never used.
[[nodiscard]] std::uint64_t free_pages(UnitIndex unit);

// Takes up to `wanted` slots, returned ones first and by rising address; writes their addresses downward from
// before `end`, so that the lowest is popped first. May give a few more, at most `room`, to end on a cache line: one line
// must not be split between threads. Returns how many; 0 when the slab is full or the budget refuses the next page.
[[nodiscard]] unsigned take(UnitIndex unit, void** end, unsigned wanted, unsigned room);

// In the child of a fork: counts the returned slots anew, after a thread that is gone was in the middle of the two above.
void recount(UnitIndex unit);

enum class Returned { kBack, kDoubleFree, kInterior, kNeverAllocated };

// Puts back slots from the front of `slots`, the first of which lies in this slab, up to one that does not, and returns how
// many. `verdict` is kBack, or says what is wrong with the next one. count above 0. The bitmap word at hand stays in a
// register until another one is needed: through memory, each slot would wait for the store of the one before it.
[[nodiscard]] unsigned put_back(UnitIndex unit, SizeClass c, void* const* slots, unsigned count, Returned& verdict);

}  // namespace slab
}  // namespace nebula
