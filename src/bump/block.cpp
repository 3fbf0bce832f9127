#include "bump/block.hpp"

#include <bit>

#include "base/start_data.hpp"
#include "budget/usage.hpp"
#include "node_heap/node_heap.hpp"
#include "node_heap/placement.hpp"
#include "os/process.hpp"

namespace nebula::bump {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kBump = static_cast<std::uint8_t>(UnitUse::kBump);
constexpr auto kNothing = static_cast<std::uint8_t>(UnitUse::kNothing);
constexpr std::uint64_t kIdleMilliseconds = 1000;
constexpr std::uint32_t kIdlePages = 4;  // the least that a call to the kernel is made for while nobody is short of memory

// Held while a block that nobody has ends, and while one is looked for to be held: whoever holds it knows that such a block is
// not about to become something else. Nothing is taken under it.
NEBULA_LATER_DATA constinit Lock ends{LockRank::kLeaf};

NEBULA_START_DATA constinit std::atomic<std::uint64_t> limit_bytes{std::uint64_t{256} << 20};  // all relaxed: totals
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> block_bytes{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> blocks{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> taken{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> passed_on{0};

void set_use(UnitIndex first, std::size_t count, std::uint8_t use) {
  // release: whoever looks through all units and finds the use finds the records.
  for (std::size_t i = 0; i < count; ++i) unit_use(first + i).store(use, std::memory_order_release);
}

// The starts of the blocks of a region, once. One thread maps them; another that comes meanwhile goes without.
bool have_block_records(RegionIndex index) {
  constexpr std::size_t kBytes = kUnitsPerRegion * kBlockRecordBytes;
  enum : std::uint8_t { kNone, kBusy, kThere };
  std::atomic<std::uint8_t>& state = region_at(index).block_records;
  // acquire: pairs with the release below, so the records are there.
  if (state.load(std::memory_order_acquire) == kThere) return true;
  std::uint8_t none = kNone;
  if (!state.compare_exchange_strong(none, kBusy, std::memory_order_acquire, kRelaxed)) return none == kThere;
  bool there = pages::commit_metadata(kBytes);
  if (there && !pages::map_piece(record_map.block_records + index * kBytes, kBytes)) {
    pages::uncommit_metadata(kBytes);
    there = false;
  }
  state.store(there ? kThere : kNone, std::memory_order_release);
  return there;
}

// At a multiple of its size, so within one region: that region's unit records are the ones that are committed with the span, and all
// who walk through units by regions meet a block's head before the rest.
UnitIndex take_units(NodeHeap& heap, std::uint32_t units) {
  const UnitIndex head = heap.spans().take({units}, {std::bit_ceil(units)});
  if (head == kNoUnit) return kNoUnit;
  if (have_block_records(region_of(head))) return head;
  heap.spans().give_back(head, {units});
  return kNoUnit;
}

UnitIndex take_near(std::uint32_t units) {
  NodeHeap& heap = NodeHeap::at(placement::small_here());
  if (const UnitIndex head = take_units(heap, units); head != kNoUnit) return head;
  UnitIndex head = kNoUnit;
  heap.ask_helpers([&](NodeHeap& helper) {
    head = take_units(helper, units);
    return head != kNoUnit;
  });
  return head;
}

// Holds the block at this unit, if nobody has or holds it and it has live objects: as if one more were alive. Of two that purge the
// same pages at once, each would credit them.
bool try_hold(UnitIndex unit) {
  LockGuard guard(ends);
  if (unit_use(unit).load(std::memory_order_acquire) != kBump || record_at(unit).head != unit) return false;
  UnitRecord& record = record_at(unit);
  // acquire: pairs with the release in let_go, so that what was purged is seen to be.
  if (record.is_held.load(std::memory_order_acquire)) return false;
  std::uint64_t count = record.live.load(kRelaxed);
  // relaxed: the objects' ends are read from `dead`.
  while (count != 0 && count < kOwned / 2) {
    if (!record.live.compare_exchange_weak(count, count + 1, kRelaxed)) continue;
    record.is_held.store(true, kRelaxed);  // under the lock
    return true;
  }
  return false;
}

void let_go(UnitIndex unit) {
  UnitRecord& record = record_at(unit);
  record.is_held.store(false, std::memory_order_release);
  // acquire, release: as in deallocate.
  if (record.live.fetch_sub(1, std::memory_order_acq_rel) == 1) give_back(unit);
}

std::uint32_t pages_of(const Block& block) { return static_cast<std::uint32_t>(block.units().count * kPagesPerUnit); }

bool kept_still(UnitRecord& record) {
  const std::uint64_t live = record.live.load(kRelaxed);
  const std::uint64_t now = os::coarse_milliseconds();
  if (record.live_at_look != live) {
    record.live_at_look = live;
    record.looked_at = now;
    return false;
  }
  if (record.looked_at == 0 || now - record.looked_at < kIdleMilliseconds) return false;
  record.looked_at = 0;
  return true;
}

}  // namespace

Contents contents_of(const Block& block) {
  Contents contents;
  block.for_each_object([&](std::uint32_t start, std::uint32_t end) {
    ++contents.live;
    contents.live_bytes += (end - start) * kGranule;
  });
  return contents;
}

Contents contents_of_all() {
  Contents sum;
  if (blocks.load(kRelaxed) == 0) return sum;
  const std::uint64_t end = heap_map.mapped_units.load(kRelaxed);
  for (UnitIndex unit = 0; unit < end; ++unit) {
    if (unit_use(unit).load(std::memory_order_acquire) != kBump || record_at(unit).head != unit) continue;
    const Contents contents = contents_of(Block(unit));
    sum.live += contents.live;
    sum.live_bytes += contents.live_bytes;
  }
  return sum;
}

std::size_t purge_dead_pages(const Block& block, std::uint32_t end, std::uint32_t least) {
  std::uint64_t used[kUnitsMost * kPagesPerUnit / 64] = {};
  block.for_each_object([&](std::uint32_t first, std::uint32_t behind) {
    for (std::uint32_t page = first / kGranulesPerPage; page <= (behind - 1) / kGranulesPerPage; ++page)
      used[page / 64] |= std::uint64_t{1} << (page % 64);
  });
  std::size_t purged = 0;
  for (std::uint32_t page = 0; page < end;) {
    const std::uint32_t first = page;
    while (page < end && (used[page / 64] >> (page % 64) & 1) == 0) ++page;
    const pages::Range range = block.pages_between(first, page);
    const std::size_t bytes = pages::committed_in(range).bytes();
    if (page - first >= least && bytes != 0 && pages::purge(range)) purged += bytes;
    ++page;
  }
  return purged;
}

void count_in_use(const Block& block, std::uint64_t bytes) {
  const std::uint64_t before = block.record().counted.exchange(bytes, kRelaxed);
  const unsigned part = part_of(block.head());
  if (bytes > before) bytes_in_use.add(bytes - before, part);
  else bytes_in_use.subtract(before - bytes, part);
}

UnitIndex take_block(std::uint32_t units) {
  const std::size_t bytes = Units{units}.bytes();
  if (block_bytes.fetch_add(bytes, kRelaxed) + bytes > limit()) {
    block_bytes.fetch_sub(bytes, kRelaxed);
    note_at_limit();
    return kNoUnit;
  }
  const UnitIndex head = take_near(units);
  if (head == kNoUnit) {
    block_bytes.fetch_sub(bytes, kRelaxed);
    return kNoUnit;
  }
  for (std::uint32_t i = 0; i < units; ++i) {
    UnitRecord& record = record_at(head + i);
    for (Word& word : record.dead) word.store(0, kRelaxed);
    for (unsigned w = 0; w < kWordsPerUnit; ++w) starts_of(head + i)[w].store(0, kRelaxed);
    record.head = head;
  }
  UnitRecord& record = record_at(head);
  record.units = units;
  record.live.store(kOwned, kRelaxed);
  record.owner.store(nullptr, kRelaxed);
  record.counted.store(0, kRelaxed);
  record.is_held.store(false, kRelaxed);
  record.live_at_look = record.looked_at = 0;
  set_use(head, units, kBump);
  blocks.fetch_add(1, kRelaxed);
  taken.fetch_add(1, kRelaxed);
  return head;
}

void give_back(UnitIndex head) {
  const Block block(head);
  count_in_use(block, 0);
  {
    LockGuard guard(ends);
    set_use(head, block.units().count, kNothing);
  }
  block_bytes.fetch_sub(block.units().bytes(), kRelaxed);
  blocks.fetch_sub(1, kRelaxed);
  NodeHeap::of(head).spans().give_back(head, block.units());
}

std::size_t purge_left_blocks(Which which) {
  if (blocks.load(kRelaxed) == 0) return 0;
  std::size_t purged = 0;
  const std::uint64_t end = heap_map.mapped_units.load(kRelaxed);
  for (UnitIndex unit = 0; unit < end; ++unit) {
    if (unit_use(unit).load(kRelaxed) != kBump || !try_hold(unit)) continue;
    const Block block(unit);
    UnitRecord& record = block.record();
    if (which == Which::kAll || kept_still(record)) {
      purged += purge_dead_pages(block, pages_of(block), which == Which::kAll ? 1 : kIdlePages);
      // What a block's first owner left dirty behind the mark was never counted.
      const std::uint64_t left = pages::committed_in(block.pages_between(0, pages_of(block))).bytes();
      if (left < record.counted.load(kRelaxed)) count_in_use(block, left);
    }
    let_go(unit);
  }
  return purged;
}

void set_limit(std::uint64_t bytes) { limit_bytes.store(bytes, kRelaxed); }
std::uint64_t limit() { return limit_bytes.load(kRelaxed); }

bool is_at_limit(std::uint32_t units) { return block_bytes.load(kRelaxed) + Units{units}.bytes() > limit(); }
void note_at_limit() { passed_on.fetch_add(1, kRelaxed); }

BlockCounts block_counts() {
  return {block_bytes.load(kRelaxed), blocks.load(kRelaxed), taken.load(kRelaxed), passed_on.load(kRelaxed)};
}

void reset_in_child() NEBULA_UNCHECKED {
  if (!ends.is_mine()) ends.reset_in_child();
}

}  // namespace nebula::bump
