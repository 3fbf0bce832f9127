#include "pages/address_space.hpp"

#include "base/bits.hpp"
#include "base/fast_load.hpp"  // NEBULA_THREAD_SANITIZER
#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "os/process.hpp"
#include "pages/locking.hpp"

namespace nebula {

NEBULA_START_DATA constinit HeapMap heap_map;
NEBULA_START_DATA constinit RecordMap record_map;

namespace pages {

NEBULA_START_DATA constinit std::atomic<unsigned> views{0};
NEBULA_START_DATA constinit std::atomic<unsigned> whole_views{0};
NEBULA_START_DATA constinit std::atomic<bool> has_view_of_none{false};

namespace {

enum class Growth : std::uint8_t { kUp, kDown };

struct AreaState {
  Address origin = 0;  // one end of it
  Growth growth = Growth::kUp;
  std::size_t capacity = 0;
  std::size_t mapped = 0;
  std::size_t step = 0;
  std::size_t attempted = 0;  // what `mapped` becomes if the mapping that is being tried succeeds; else 0
};
constexpr unsigned kFirstView = static_cast<unsigned>(Area::kViews);
NEBULA_START_DATA constinit AreaState areas[kFirstView];
constinit AreaState view_areas[static_cast<unsigned>(Area::kEnd) - kFirstView];
NEBULA_START_DATA constinit RegionIndex regions_capacity = 0;
NEBULA_START_DATA constinit std::atomic<std::uint64_t> mapped{0};    // relaxed: totals
NEBULA_START_DATA constinit std::atomic<std::uint64_t> metadata{0};

// Where what is mapped beyond `from` bytes of it lies, up to `to`.
Address lowest(const AreaState& area, std::size_t from, std::size_t to) {
  return area.growth == Growth::kUp ? area.origin + from : area.origin - to;
}

void note_mapped(Address where, std::size_t bytes) {
  mapped.fetch_add(bytes, std::memory_order_relaxed);
  locking::note_mapped(where, bytes);
}

AreaState& state_of(Area area) {
  const auto i = static_cast<unsigned>(area);
  return i < kFirstView ? areas[i] : view_areas[i - kFirstView];
}

// A stretch of addresses in which bases are drawn, and how large a heap may become there.
struct Window {
  Address first;
  Address last;
  RegionIndex regions;
};

#if defined(NEBULA_THREAD_SANITIZER)
// ThreadSanitizer keeps its shadow everywhere but in a few stretches; this one is left to the program.
constexpr Window kWindows[] = {{0x7e90'0000'0000, 0x7eb0'0000'0000, 32 * 1024}};
#else
// The first lies above the top that unlimited stacks give to mappings (0x1555'…), below the start of the legacy
// bottom-up layout (0x2aaa'…) and far from AddressSanitizer's shadow. The others are for smaller address spaces
// (39 bits on some machines, some sandboxes).
constexpr Window kWindows[] = {
    {0x1800'0000'0000, 0x2700'0000'0000, kRegionsMost},
    {0x0020'0000'0000, 0x0030'0000'0000, 64 * 1024},
    {0x0004'0000'0000, 0x0008'0000'0000, 4 * 1024},
};
#endif

constexpr std::size_t kSignalArenaBytes = 64 * kMiB;
constexpr std::size_t kProfileBytes = 64 * kMiB;
constexpr std::size_t kBatchAreaBytes = 128 * kMiB;
constexpr Address kBaseAlignment = kGiB;  // so much an object may be aligned
constexpr std::size_t kMeetingPoint = kMiB;      // of two areas, behind a multiple of a region's size
constexpr std::size_t kRoomBefore = 128 * kMiB;  // of a base: for class map and region records
static_assert(kClassMapBehind + kRegionsMost * kRegionRecordBytes <= kRoomBefore);
static_assert((kClassMapBehind + kMeetingPoint) % kRegionSize == 0);

void lay_out(Address metadata_base, RegionIndex regions) {
  const std::size_t thread_heaps = regions >= 32 * 1024 ? 32 * 1024 : 2 * 1024;
  Address at = metadata_base;
  const auto place = [&at](Area area, std::size_t capacity, std::size_t step) {
    state_of(area) = {at, Growth::kUp, capacity, 0, step, 0};
    at += round_up(capacity, kRegionSize);
  };
  place(Area::kBatchRecords, kBatchAreaBytes, 16 * kPageSize);
  place(Area::kBlockRecords, regions * kUnitsPerRegion * kBlockRecordBytes, 0);
  place(Area::kSignalArena, kSignalArenaBytes, 0);
  place(Area::kProfile, kProfileBytes, 0);
  place(Area::kNodeHeaps, kNodeHeapsMost * kNodeHeapBytes, kNodeHeapBytes);
  const Address views_start = at;
  const std::size_t view_bytes = round_up(std::size_t{regions} * kUnitsPerRegion, kRegionSize);
  at += (kNodeHeapsMost + 1) * view_bytes + thread_heaps * kThreadHeapBytes + kMeetingPoint;
  state_of(Area::kThreadHeaps) = {at, Growth::kDown, thread_heaps * kThreadHeapBytes, 0, 0, 0};
  place(Area::kUnitRecords, regions * kUnitsPerRegion * kUnitRecordBytes, 20 * kPageSize);
  const Address base = round_up(at + kRoomBefore, kBaseAlignment);
  const Address meeting = base - kClassMapBehind;
  state_of(Area::kRegionRecords) = {meeting, Growth::kDown, regions * kRegionRecordBytes, 0, 16 * kPageSize, 0};
  state_of(Area::kClassMap) = {meeting, Growth::kUp, regions * kUnitsPerRegion, 0, 16 * kPageSize, 0};
  record_map = {state_of(Area::kRegionRecords).origin, state_of(Area::kUnitRecords).origin,
                state_of(Area::kBatchRecords).origin,  state_of(Area::kBlockRecords).origin, state_of(Area::kThreadHeaps).origin,
                state_of(Area::kSignalArena).origin,   state_of(Area::kProfile).origin, state_of(Area::kNodeHeaps).origin,
                views_start, view_bytes};
  regions_capacity = regions;
  heap_map.base = base;
}

// The first steps of the two areas that meet before the base, as one mapping where the system has that much.
bool map_first_steps() {
  AreaState& below = state_of(Area::kRegionRecords);
  AreaState& above = state_of(Area::kClassMap);
  const Address where = below.origin - below.step;
  const std::size_t bytes = below.step + above.step;
  below.attempted = below.step;
  above.attempted = above.step;
  if (os::map_at(where, bytes) == os::MapResult::kMapped) {
    note_mapped(where, bytes);
    below.mapped = below.step;
    above.mapped = above.step;
  }
  below.attempted = above.attempted = 0;
  return map_metadata(Area::kClassMap, 1) && map_metadata(Area::kRegionRecords, 1);
}

bool map_view(HeapId heap, std::size_t units) {
  AreaState& area = state_of(view_area(heap));
  // A fork may have left it mapped and its heap unmade.
  if (area.origin == 0) area = {reinterpret_cast<Address>(view_of(heap)), Growth::kUp, record_map.view_bytes, 0, 16 * kPageSize, 0};
  return map_metadata(view_area(heap), units);
}

}  // namespace

bool claim() {
  constexpr int kTries = 4;
  std::uint64_t random = os::random_start_value();
  for (const Window& window : kWindows) {
    for (int i = 0; i < kTries; ++i) {
      random = random * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
      const Address places = (window.last - window.first) / kBaseAlignment;
      lay_out(window.first + (random >> 20) % places * kBaseAlignment, window.regions);
      if (map_first_steps()) return true;
    }
  }
  heap_map.base = 0;
  return false;
}

bool begin_views(unsigned count, std::size_t units) {
  for (unsigned i = 0; i < count; ++i)
    if (!map_view(static_cast<HeapId>(i), units)) return false;
  whole_views.store(count, std::memory_order_relaxed);
  views.store(count, std::memory_order_relaxed);
  return true;
}

bool begin_view_of_none(std::size_t units) {
  if (!map_view(kHeapOfNone, units)) return false;
  has_view_of_none.store(true, std::memory_order_relaxed);
  return true;
}

bool add_view(std::size_t units) {
  const unsigned count = views.load(std::memory_order_relaxed);
  if (count == kNodeHeapsMost || !map_view(static_cast<HeapId>(count), units)) return false;
  views.store(count + 1, std::memory_order_relaxed);
  return true;
}

bool map_views(std::size_t units) {
  const unsigned count = views.load(std::memory_order_relaxed);
  for (unsigned heap = 0; heap < count; ++heap)
    if (!map_metadata(view_area(static_cast<HeapId>(heap)), units)) return false;
  return !has_view_of_none.load(std::memory_order_relaxed) || map_metadata(view_area(kHeapOfNone), units);
}

std::size_t capacity_of(Area area) { return state_of(area).capacity; }
RegionIndex region_capacity() { return regions_capacity; }

bool map_metadata(Area area, std::size_t bytes) {
  AreaState& state = state_of(area);
  if (bytes <= state.mapped) return true;
  if (bytes > state.capacity) return false;
  // In large steps where the system allows it, in small ones where it does not.
  for (std::size_t step = state.step;; step = kPageSize) {
    std::size_t wanted = round_up(bytes, kPageSize);
    if (wanted < state.mapped + step) wanted = state.mapped + step;
    if (wanted > round_up(state.capacity, kPageSize)) wanted = round_up(state.capacity, kPageSize);
    const std::size_t more = wanted - state.mapped;
    state.attempted = wanted;
    const Address where = lowest(state, state.mapped, wanted);
    const os::MapResult result = os::map_at(where, more);
    if (result == os::MapResult::kMapped) {
      note_mapped(where, more);
      state.mapped = wanted;
    }
    state.attempted = 0;
    if (result == os::MapResult::kMapped) return true;
    if (step == kPageSize) return false;
  }
}

void reset_in_child() {
  for (unsigned i = 0; i < static_cast<unsigned>(Area::kEnd); ++i) {
    AreaState& state = state_of(static_cast<Area>(i));
    if (state.attempted > state.mapped && os::is_readable(lowest(state, state.mapped, state.attempted))) state.mapped = state.attempted;
  }
}

bool map_piece(Address where, std::size_t bytes) {
  if (os::map_at(where, bytes) != os::MapResult::kMapped) return false;
  note_mapped(where, bytes);
  return true;
}

bool purge_metadata(Address where, std::size_t bytes, std::size_t charged) {
  if (!locking::discard(where, bytes)) return false;
  uncommit_metadata(charged);
  return true;
}

bool commit_metadata(std::size_t bytes) {
  if (!charge_memory(bytes)) return false;
  metadata.fetch_add(bytes, std::memory_order_relaxed);
  return true;
}

void uncommit_metadata(std::size_t bytes) {
  metadata.fetch_sub(bytes, std::memory_order_relaxed);
  credit_memory(bytes);
}

os::MapResult map_regions(RegionIndex first, std::size_t count, os::Backing backing) {
  const std::size_t skipped = first == 0 ? kUnitSize : 0;
  const std::size_t bytes = count * kRegionSize - skipped;
  const Address where = address_of_unit(first_unit_of(first)) + skipped;
  const os::MapResult result = os::map_at(where, bytes, backing);
  if (result == os::MapResult::kMapped) note_mapped(where, bytes);
  return result;
}

void unmap_regions(RegionIndex first, std::size_t count) {
  const Address where = address_of_unit(first_unit_of(first));
  locking::note_unmapped(where, count * kRegionSize);
  os::unmap(where, count * kRegionSize);
  mapped.fetch_sub(count * kRegionSize, std::memory_order_relaxed);
}

os::PopulateResult populate_regions(RegionIndex first, std::size_t count) {
  return os::populate(address_of_unit(first_unit_of(first)), count * kRegionSize);
}

bool place_regions(RegionIndex first, std::size_t count, const os::Placement& placement) {
  const std::size_t skipped = first == 0 ? kUnitSize : 0;
  return os::place(address_of_unit(first_unit_of(first)) + skipped, count * kRegionSize - skipped, placement);
}

std::uint64_t mapped_bytes() { return mapped.load(std::memory_order_relaxed); }
std::uint64_t metadata_bytes() { return metadata.load(std::memory_order_relaxed); }

}  // namespace pages
}  // namespace nebula
