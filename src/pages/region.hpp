// A region's record, and commit and purge: nothing else makes a page usable or gives it back, so neither the budget nor
// the statistics can be passed by.
//
// A page is committed (charged, possibly backed) or clean (untouched or purged: not charged, reads as zero). The bits
// of a page are changed only by whoever owns the span it lies in, or by the purge that took it out of circulation, so
// a range needs no lock; atomic operations are used because one word holds the pages of four units with several owners.
// Relaxed: ownership passes from thread to thread through the span lock or a class lock, which order these accesses.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/units.hpp"
#include "budget/account.hpp"
#include "os/memory.hpp"
#include "pages/address_space.hpp"

namespace nebula {

struct alignas(kCacheLine) Region {
  struct Links {
    RegionIndex next;
    RegionIndex previous;
  };

  std::atomic<std::uint64_t> committed[kPagesPerRegion / 64];

  // The rest belongs to the part of the span heap that the region is of, under its lock.
  std::uint32_t free_units;    // a bit for each unit that no span holds; 0 for a hole or what is not mapped
  std::uint32_t claimed_units; // first units of spans that are being resized, or lose the dirty end of their last unit
  std::uint32_t dirty_units;   // of the free ones, those with committed pages
  std::uint32_t dirty_pages;   // committed pages in free units
  Links by_run;                // in the list of its longest free run
  Links by_age;                // in the list by age of last free
  std::uint64_t freed_at;      // coarse milliseconds of the last free into it
  bool is_listed : 1;
  bool is_dirty_listed : 1;
  bool follows_own : 1;        // the region before is of the same part: known here, because its record is written by another part if not
  bool precedes_own : 1;       // the same of the one behind
  std::atomic<std::uint8_t> part;  // of its heap's spans; changes while it is wholly free; relaxed, read without a lock by who is in it
  std::uint8_t list;           // which of the lists by longest run
  bool wants_huge_pages;
  bool is_patched;             // pages were moved in: the kernel keeps such a piece as a mapping of its own
  bool has_unit_records;       // the unit records of this region are committed
  std::atomic<std::uint8_t> block_records;  // of bump blocks in this region: see bump/block.cpp
  std::uint8_t seam;           // which of the lists of seams: how many units are free on both sides of this region's end; 0: none
  HeapId heap;                 // whose it is, for ever; read without the lock by whoever got an address of the region
  bool is_huge_tlb;            // of the pool of huge pages: committed whole, and never given back; set before there are objects
  std::atomic<std::uint8_t> is_locked;  // in memory, and counted as such: see locking.cpp
  std::uint32_t settled_units; // of the dirty ones, those that the purge of idle pages has done with
  Links by_seam;               // in the list of its seam
};
static_assert(sizeof(Region) == kRegionRecordBytes);

[[nodiscard]] inline Region& region_at(RegionIndex index) {
  return *(reinterpret_cast<Region*>(record_map.region_records_end) - 1 - index);
}
// Of its heap's spans, while something lies in the unit.
[[nodiscard]] inline unsigned part_of(std::size_t unit) {
  return region_at(region_of(static_cast<UnitIndex>(unit))).part.load(std::memory_order_relaxed);
}

namespace pages {

struct Range {
  PageIndex first = 0;
  Pages count;
};

[[nodiscard]] constexpr Range pages_of(RegionIndex region) { return {PageIndex{region} * kPagesPerRegion, {kPagesPerRegion}}; }
[[nodiscard]] constexpr Range pages_of(UnitIndex first, Units count) { return {first_page_of(first), {count.count * kPagesPerUnit}}; }

[[nodiscard]] Pages committed_in(Range range);
// Charges the pages of the range that are not committed. False when the budget refuses: nothing changed.
[[nodiscard]] bool commit(Range range, Account::Reserve reserve = Account::Reserve::kMayUse);
// Makes pages resident that are committed and hold nothing. False when the system has none for them.
[[nodiscard]] bool touch(Range range);
// Writes zeros over the committed pages; the others read as zero anyway. Touches no clean page.
void clear_committed(Range range);
// Pages that are charged already and usable as soon as they are mapped.
void note_committed(Range range);
// Whether some of it is of the pool of huge pages: what follows refuses such ranges.
[[nodiscard]] bool is_fixed(Range range);
enum class Extent {
  kCommitted,  // from the first committed page to the last
  kWhole,      // also what is clean by our books: under a huge page it is resident all the same
};
// Gives back the committed pages of a range with one call to the kernel; false when it refuses: nothing changed.
bool purge(Range range, Extent extent = Extent::kCommitted);
// Leaves the committed pages of a range to the kernel, in the way advised: they stay committed, charged and of unknown contents.
// False when it refuses: nothing changed.
[[nodiscard]] bool advise(Range range, Extent extent, os::Advice advice);
// Gives back a whole region and heals it: it is one mapping with its neighbours again. False when the kernel refuses:
// nothing changed.
[[nodiscard]] bool renew(RegionIndex region);
// Moves the pages of one range to another of the same size and heap with the contents; `to` need not be clean. False: nothing
// changed. The charges of pages committed in `from` move along.
[[nodiscard]] bool move(Range from, Range to);

struct PurgeCounts {
  std::uint64_t purges;
  std::uint64_t purged_bytes;
  std::uint64_t refusals;
  std::uint64_t advices;
  std::uint64_t advised_bytes;
  std::uint64_t advice_refusals;
  std::uint64_t moves;
  std::uint64_t moved_bytes;
};
[[nodiscard]] PurgeCounts purge_counts();

}  // namespace pages
}  // namespace nebula
