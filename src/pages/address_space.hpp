// The claimed address range: where the heap and its metadata live.
//
// Claimed, not reserved: a base is picked where the kernel puts nothing by itself, and pieces are mapped there when
// they are needed, so the process's virtual size is what it uses, `ulimit -v` works, and mlockall has nothing to fill.
//
//   │ batch records │ block records │ signal arena │ profile │ node heaps, views │ ← thread heaps │ unit records → │ ← region records │ class map → │ heap →
//     512 B each      512 B a unit                                                512 KiB each    P 640 B a unit    128 B a region    Q 1 B a unit   base
//
// An arrow is the way in which an area grows, in steps from its origin (others: piece by piece); nothing is unmapped. The callers
// serialise the growth of an area. At P and Q, which lie 1 MiB behind multiples of 2 MiB, two areas begin: what a small program
// touches of both is in one page of the kernel's page tables.
//
// Where there are several node heaps, each has its own data and a view. A
// view is a class map that tells the slots of its heap's slabs from those of other heaps; only slabs are in it: what it
// calls nothing, the class map knows. A tenant's has its own slabs and those that its thread has freed a slot of, so that a slab
// costs no more for there being a thousand tenants.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/start_data.hpp"
#include "base/units.hpp"
#include "os/memory.hpp"
#include "os/numa.hpp"

namespace nebula {

// What the fast paths of realloc and malloc_usable_size read, and that of free copies of: one cache line, written when the heap grows.
struct alignas(kCacheLine) HeapMap {
  Address base = 0;                            // of unit 0; 0 before the range is claimed
  std::atomic<std::uint64_t> mapped_units{0};  // the class map answers for units below
};
[[gnu::visibility("hidden")]] extern constinit HeapMap heap_map;  // hidden: read without the global offset table

inline constexpr std::size_t kClassMapBytes = 16 * kMiB;  // one byte for each unit of 1 TiB
inline constexpr std::size_t kClassMapBehind = kClassMapBytes + kMiB;  // from its start to the base
inline constexpr UnitIndex kUnitsMost = kClassMapBytes;
inline constexpr RegionIndex kRegionsMost = kUnitsMost / kUnitsPerRegion;

// Where the records start; set once with the base.
struct RecordMap {
  Address region_records_end = 0;  // of region 0's: the others lie below it
  Address unit_records = 0;
  Address batch_records = 0;
  Address block_records = 0;
  Address thread_heaps_end = 0;  // likewise
  Address signal_arena = 0;
  Address profile = 0;
  Address node_heaps = 0;
  Address views = 0;
  std::size_t view_bytes = 0;  // of each
};
extern constinit RecordMap record_map;

inline constexpr std::size_t kRegionRecordBytes = 128;
inline constexpr std::size_t kUnitRecordBytes = 640;  // 32 of them fill five pages exactly
// What is no slab keeps its record from here on: the home of a slab that was is read without a lock, and must stay one.
inline constexpr std::size_t kBehindSlabHome = 32;
inline constexpr std::size_t kBatchRecordBytes = 512;
inline constexpr std::size_t kBlockRecordBytes = 512;  // of each unit of a bump block
inline constexpr std::size_t kThreadHeapBytes = 512 * kKiB;  // of address; a fraction of it is ever mapped
inline constexpr std::size_t kNodeHeapBytes = 512 * kKiB;    // likewise
static_assert(kUnitsPerRegion * kUnitRecordBytes % kPageSize == 0);

// The class map's byte of a unit. Relaxed: a unit's use is set before any pointer into it is handed out, and whoever
// frees that pointer got it from a thread that knew. A stale answer is possible only for pointers that are no objects.
[[nodiscard]] inline std::atomic<std::uint8_t>& unit_use(std::uint64_t unit) {
  return *reinterpret_cast<std::atomic<std::uint8_t>*>(heap_map.base - kClassMapBehind + unit);
}

// What a heap's view has for a unit of a slab of its own is the class; of another's, the class and this.
inline constexpr unsigned kAway = 104;
[[nodiscard]] inline std::atomic<std::uint8_t>* view_of(HeapId heap) {
  return reinterpret_cast<std::atomic<std::uint8_t>*>(record_map.views + heap * record_map.view_bytes);
}
// In place of a heap: the view in which every slab is another's.
inline constexpr HeapId kHeapOfNone = kNodeHeapsMost;
[[nodiscard]] inline std::atomic<std::uint8_t>* class_map() {
  return reinterpret_cast<std::atomic<std::uint8_t>*>(heap_map.base - kClassMapBehind);
}

[[nodiscard]] inline Address address_of_unit(UnitIndex unit) {
  return heap_map.base + (std::size_t{unit} << kUnitShift);
}
[[nodiscard]] inline Address address_of_page(PageIndex page) { return heap_map.base + (page << kPageShift); }
// At or above mapped_units for every address that is not of the heap.
[[nodiscard]] inline std::uint64_t unit_of(const void* pointer) {
  return (reinterpret_cast<Address>(pointer) - heap_map.base) >> kUnitShift;
}

namespace pages {

enum class Area : std::uint16_t {
  kRegionRecords,
  kUnitRecords,
  kBatchRecords,
  kBlockRecords,
  kThreadHeaps,
  kSignalArena,
  kProfile,
  kNodeHeaps,
  kClassMap,
  kViews,  // the first of as many as there can be heaps, and that of none
  kEnd = kViews + kNodeHeapsMost + 1,
};
[[nodiscard]] constexpr Area view_area(HeapId heap) { return static_cast<Area>(static_cast<unsigned>(Area::kViews) + heap); }

// How many heaps have a view: the first of these are places, whose views are whole. 0 while there is one heap that nothing is
// told from. Relaxed: set before another heap has anything.
extern constinit std::atomic<unsigned> views;
extern constinit std::atomic<unsigned> whole_views;
extern constinit std::atomic<bool> has_view_of_none;

// Picks the range; until it has succeeded nothing else here may be called. Called by one thread at a time.
[[nodiscard]] NEBULA_START_CODE bool claim();

[[nodiscard]] std::size_t capacity_of(Area area);
[[nodiscard]] RegionIndex region_capacity();

// Gives the first `count` heaps a whole view of that many units, all nothing. Once, while no heap but the first is in use
// and nothing grows. False: none has one.
[[nodiscard]] bool begin_views(unsigned count, std::size_t units);
// That of none. The same.
[[nodiscard]] bool begin_view_of_none(std::size_t units);
// One more, of the next tenant. By the holder of the frontier. False: refused, or there are as many as there can be.
[[nodiscard]] bool add_view(std::size_t units);
// Makes every view answer for that many units. By the holder of the frontier.
[[nodiscard]] bool map_views(std::size_t units);

// Makes the first `bytes` of an area that grows from its origin addressable. Commits nothing.
[[nodiscard]] bool map_metadata(Area area, std::size_t bytes);
// The same for a piece of another area; each piece once.
[[nodiscard]] bool map_piece(Address where, std::size_t bytes);
// In the child of a fork that did not wait for anybody: what a thread that is gone had mapped and not yet noted is noted,
// or the next growth of its area would find the place taken.
void reset_in_child();
// Gives back a stretch of metadata of which `charged` bytes are committed; it stays mapped and reads as zero. False when
// the kernel refuses.
[[nodiscard]] bool purge_metadata(Address where, std::size_t bytes, std::size_t charged);
// Charges metadata that is about to be touched / was given back.
[[nodiscard]] bool commit_metadata(std::size_t bytes);
void uncommit_metadata(std::size_t bytes);

// Unit 0 is never mapped: no object starts at the base, and the kernel cannot put a huge page under the first region,
// so that a program with a small heap stays small even where huge pages are "always".
[[nodiscard]] os::MapResult map_regions(RegionIndex first, std::size_t count, os::Backing backing);
// Not region 0. The reverse, of what nobody has touched yet but populate_regions, which makes it resident.
void unmap_regions(RegionIndex first, std::size_t count);
[[nodiscard]] os::PopulateResult populate_regions(RegionIndex first, std::size_t count);

// Where the pages of these regions come from when they are touched. False when the kernel refuses.
[[nodiscard]] bool place_regions(RegionIndex first, std::size_t count, const os::Placement& placement);

// For the report: everything addressable, and the committed part of the metadata.
[[nodiscard]] std::uint64_t mapped_bytes();
[[nodiscard]] std::uint64_t metadata_bytes();

}  // namespace pages
}  // namespace nebula
