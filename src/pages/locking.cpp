#include "pages/locking.hpp"

#include <atomic>

#include "base/bits.hpp"
#include "base/start_data.hpp"
#include "os/memory.hpp"
#include "pages/address_space.hpp"
#include "pages/region.hpp"

namespace nebula::locking {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

NEBULA_START_DATA constinit std::atomic<bool> is_on{false};  // relaxed: set before there are threads, or in a child that has one
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> obtained{0};  // relaxed, these two: totals for the report
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> refusals{0};

// What was mapped before it was known whether it is to be locked: what constructors that run before ours allocate.
struct Mapping {
  Address where;
  std::size_t bytes;
};
constexpr unsigned kEarlyMost = 16;
NEBULA_START_DATA constinit Mapping early[kEarlyMost] = {};
NEBULA_START_DATA constinit std::atomic<unsigned> early_count{0};  // relaxed: more than one thread so early is a program's own doing

bool is_heap(Address where) { return where - heap_map.base < pages::region_capacity() * kRegionSize; }

template <class Visitor>
void for_each_region(Address where, std::size_t bytes, Visitor visit) {
  const Address end = where + bytes;
  for (auto index = static_cast<RegionIndex>((where - heap_map.base) >> kRegionShift); where < end; ++index) {
    const Address stop = heap_map.base + (Address{index} + 1) * kRegionSize;
    visit(region_at(index));
    where = stop;
  }
}

std::size_t bytes_of(const Region& region) { return &region == &region_at(0) ? kRegionSize - kUnitSize : kRegionSize; }

void count_locked(Address where, std::size_t bytes) {
  for_each_region(where, bytes, [](Region& region) {
    if (region.is_locked.exchange(1, kRelaxed) == 0) obtained.fetch_add(bytes_of(region), kRelaxed);
  });
}

void count_unlocked(Address where, std::size_t bytes) {
  for_each_region(where, bytes, [](Region& region) {
    if (region.is_locked.exchange(0, kRelaxed) != 0) obtained.fetch_sub(bytes_of(region), kRelaxed);
  });
}

void count_lost(Address where, std::size_t bytes) {
  refusals.fetch_add(1, kRelaxed);
  count_unlocked(where, bytes);
}

// All, or as many regions as the limit leaves.
void lock_heap(Address where, std::size_t bytes) {
  for (std::size_t step = bytes; bytes != 0;) {
    const std::size_t now = step < bytes ? step : bytes;
    if (os::lock_on_fault(where, now)) {
      count_locked(where, now);
      where += now;
      bytes -= now;
    } else if (now > kRegionSize) {
      step = round_up(now / 2, kRegionSize);
    } else {
      refusals.fetch_add(1, kRelaxed);
      return;
    }
  }
}

void lock_metadata(Address where, std::size_t bytes) {
  if (os::lock_on_fault(where, bytes)) obtained.fetch_add(bytes, kRelaxed);
  else refusals.fetch_add(1, kRelaxed);
}

void lock(const Mapping& mapping) {
  if (is_heap(mapping.where)) lock_heap(mapping.where, mapping.bytes);
  else lock_metadata(mapping.where, mapping.bytes);
}

}  // namespace

void begin() {
  is_on.store(true, kRelaxed);
  const unsigned count = early_count.load(kRelaxed);
  for (unsigned i = 0; i < count && i < kEarlyMost; ++i) lock(early[i]);
}

void note_mapped(Address where, std::size_t bytes) {
  if (is_on.load(kRelaxed)) return lock({where, bytes});
  if (early_count.load(kRelaxed) >= kEarlyMost) return;
  const unsigned mine = early_count.fetch_add(1, kRelaxed);
  if (mine < kEarlyMost) early[mine] = {where, bytes};
}

void note_unmapped(Address where, std::size_t bytes) {
  if (is_on.load(kRelaxed)) count_unlocked(where, bytes);
}

void note_renewed(Address where, std::size_t bytes) {
  if (is_on.load(kRelaxed) && !os::lock_on_fault(where, bytes)) count_lost(where, bytes);
}

void open_for_move(Address where, std::size_t bytes) {
  if (is_on.load(kRelaxed) && !os::unlock(where, bytes)) count_lost(where, bytes);
}

void close_after_move(Address where, std::size_t bytes) { note_renewed(where, bytes); }

bool discard(Address where, std::size_t bytes) {
  if (!is_on.load(kRelaxed)) return os::discard(where, bytes);
  if (os::discard_locked(where, bytes)) return true;
  // Before Linux 5.18.
  if (!os::unlock(where, bytes)) return false;
  const bool is_done = os::discard(where, bytes);
  if (!os::lock_on_fault(where, bytes) && is_heap(where)) count_lost(where, bytes);
  return is_done;
}

void end_in_child() {
  is_on.store(false, kRelaxed);
  obtained.store(0, kRelaxed);
}

Facts facts() {
  return {is_on.load(kRelaxed) ? pages::mapped_bytes() : 0, obtained.load(kRelaxed), refusals.load(kRelaxed)};
}

}  // namespace nebula::locking
