#include "bump/bump.hpp"

#include "os/process.hpp"

namespace nebula::bump {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::uint32_t kPagesPerStep = 8;      // committed ahead of the mark
constexpr std::uint32_t kGranulesOfStep = kPagesPerStep * kGranulesPerPage;
constexpr std::uint64_t kPatienceMilliseconds = 100;
constexpr std::uint32_t kTicksOfOldBlock = 10;
constexpr std::uint32_t kOldBlockPages = 4;     // the least run that a tick gives back

constinit std::atomic<std::uint32_t> reclaim_epoch{0};

bool is_own(const Mine* mine, const UnitRecord& record) {
  // relaxed: only this thread makes a block its own or leaves it.
  return mine != nullptr && record.owner.load(kRelaxed) == mine;
}

void store_mark(Mine& mine, std::uint32_t mark) {
  // release: a snapshot that has the new mark has the bits below it.
  mine.word.store((mine.word.load(kRelaxed) & ~kMarkMask) | mark, std::memory_order_release);
}

std::uint32_t page_behind(std::uint32_t granule) { return (granule + kGranulesPerPage - 1) / kGranulesPerPage; }

void set_ready(Mine& mine, std::uint32_t page) {
  const Block block(mine.head);
  const std::uint32_t granules = page * kGranulesPerPage;
  mine.ready = granules < mine.end ? granules : mine.end;
  count_in_use(block, pages::committed_in(block.pages_between(0, page)).bytes());
}

// Behind the page that the mark is in nothing is known to be committed any more.
void forget_holes(Mine& mine) {
  const std::uint32_t page = page_behind(mark_of(mine));
  if (page * kGranulesPerPage < mine.ready) set_ready(mine, page);
}

std::uint64_t live_in(const Mine& mine, std::uint64_t word) {
  return allocations_of(mine) - mine.allocations_before - mine.own_frees + word - kOwned;
}

// Of the owner: the object from `granule` to the mark is free, and so may be what lies before it.
void rewind(Mine& mine, const Block& block, std::uint32_t granule) {
  block.clear_start(mark_of(mine));
  for (;;) {
    const std::uint32_t before = block.start_before(granule);
    if (before == Block::kNone || !block.is_dead(before)) break;
    block.clear_start(granule);
    block.clear_dead(before);
    granule = before;
  }
  store_mark(mine, granule);
  mine.rewinds.store(mine.rewinds.load(kRelaxed) + 1, kRelaxed);
  if (mine.has_holes) [[unlikely]] forget_holes(mine);
}

bool begin_block(Mine& mine) {
  if (mine.next_units == 0) mine.next_units = 1;
  // Before the one there is is left: smaller objects may still find room in it.
  if (is_at_limit(mine.next_units)) {
    note_at_limit();
    return false;
  }
  leave(mine);
  const UnitIndex head = take_block(mine.next_units);
  if (head == kNoUnit) {
    mine.try_again_at = os::coarse_milliseconds() + kPatienceMilliseconds;
    return false;
  }
  const Block block(head);
  block.record().owner.store(&mine, kRelaxed);
  block.set_start(0);
  mine.head = head;
  mine.start = address_of_unit(head);
  mine.starts = starts_of(head);
  mine.ready = 0;
  mine.end = block.granules() - 1;
  mine.own_frees = 0;
  mine.ticks = 0;
  mine.has_holes = false;
  mine.allocations_before = allocations_of(mine);
  store_mark(mine, 0);
  if (mine.next_units < kUnitsMost) mine.next_units *= 2;
  return true;
}

// From the start again, when nothing in it is alive: others may have freed what this thread did not see.
bool use_again(Mine& mine) {
  const Block block(mine.head);
  UnitRecord& record = block.record();
  // acquire: pairs with the release in deallocate, so that the last uses of the objects came before.
  if (mark_of(mine) == 0 || live_in(mine, record.live.load(std::memory_order_acquire)) != 0) return false;
  const std::uint32_t words = mark_of(mine) / 64 + 1;
  for (std::uint32_t i = 0; i < words; ++i) {
    mine.starts[i].store(0, kRelaxed);
    record_at(mine.head + i / kWordsPerUnit).dead[i % kWordsPerUnit].store(0, kRelaxed);
  }
  block.set_start(0);
  record.live.store(kOwned, kRelaxed);
  mine.own_frees = 0;
  mine.allocations_before = allocations_of(mine);
  store_mark(mine, 0);
  if (mine.has_holes) forget_holes(mine);
  mine.has_holes = false;  // nothing is ready
  mine.reuses.store(mine.reuses.load(kRelaxed) + 1, kRelaxed);
  return true;
}

// Over what others have freed at the end of the block.
void rewind_over_dead(Mine& mine) {
  const Block block(mine.head);
  const std::uint32_t last = block.start_before(mark_of(mine));
  if (last == Block::kNone || !block.is_dead(last)) return;
  block.clear_dead(last);
  rewind(mine, block, last);
}

// Commits what an object up to `end` needs, and more if that is to be had.
bool make_ready(Mine& mine, std::uint32_t end, Account::Reserve reserve) {
  if (end <= mine.ready) return true;
  const Block block(mine.head);
  const std::uint32_t all = static_cast<std::uint32_t>(block.units().count * kPagesPerUnit);
  const std::uint32_t from = mine.ready / kGranulesPerPage;  // below the block's end, a whole number of pages
  std::uint32_t wanted = page_behind(end > mine.ready + kGranulesOfStep ? end : mine.ready + kGranulesOfStep);
  if (wanted > all) wanted = all;
  if (!pages::commit(block.pages_between(from, wanted), reserve)) {
    wanted = page_behind(end);
    if (!pages::commit(block.pages_between(from, wanted), reserve)) return false;
  }
  set_ready(mine, wanted);
  return true;
}

// A start at the mark with nothing in it: what an alignment leaves out.
void leave_gap(Mine& mine, std::uint32_t granules) {
  const Block block(mine.head);
  const std::uint32_t mark = mark_of(mine);
  static_cast<void>(block.set_dead(mark));
  block.set_start(mark + granules);
  store_mark(mine, mark + granules);
}

void answer_reclaim(Mine& mine) {
  const std::uint32_t epoch = reclaim_epoch.load(kRelaxed);
  if (mine.reclaim_epoch == epoch) return;
  mine.reclaim_epoch = epoch;
  trim(mine);
}

// In the child of a fork: a thread that is not here may have freed an object and not yet counted it.
void count_again(const Block& block) {
  UnitRecord& record = block.record();
  std::uint64_t live = contents_of(block).live;
  const Mine* const owner = record.owner.load(kRelaxed);
  if (owner != nullptr) live += kOwned - (allocations_of(*owner) - owner->allocations_before - owner->own_frees);
  record.live.store(live, kRelaxed);
  if (live == 0) give_back(block.head());
}

Found found_at(Verdict verdict, const Block& block, std::uint32_t start, std::uint32_t end, const void* pointer) {
  const Address object = address_of_unit(block.head()) + start * kGranule;
  return {verdict, block.head(), (end - start) * kGranule, reinterpret_cast<Address>(pointer) - object};
}

}  // namespace

bool may_allocate(const Mine& mine) {
  return mine.try_again_at == 0 || os::coarse_milliseconds() >= mine.try_again_at;
}

void* allocate(Mine& mine, std::size_t size, std::size_t alignment) {
  const auto granules = static_cast<std::uint32_t>((size + kGranule - 1) / kGranule);
  const auto step = static_cast<std::uint32_t>(alignment > kGranule ? alignment / kGranule : 1);
  const auto reserve = size <= kFineMax ? Account::Reserve::kMayUse : Account::Reserve::kMustLeave;
  answer_reclaim(mine);
  mine.try_again_at = 0;
  if (mine.head == kNoUnit && !begin_block(mine)) return nullptr;
  rewind_over_dead(mine);
  // Blocks start at units, so a granule of a block is aligned as its number is.
  std::uint32_t at = round_up(mark_of(mine), step);
  if (at + granules > mine.end) {
    if (!use_again(mine)) {
      // The first block may be too small for a large object with a large alignment; the next one is not.
      if (!begin_block(mine)) return nullptr;
    }
    at = 0;
  }
  if (!make_ready(mine, at + granules, reserve)) {
    mine.try_again_at = os::coarse_milliseconds() + kPatienceMilliseconds;
    return nullptr;
  }
  if (at != mark_of(mine)) leave_gap(mine, at - mark_of(mine));
  return try_allocate(mine, size);
}

Found look(const void* pointer) {
  const Block block(static_cast<UnitIndex>(unit_of(pointer)));
  std::uint32_t start = block.granule_of(pointer);
  const bool is_first = block.is_start(start) && reinterpret_cast<Address>(pointer) % kGranule == 0;
  if (!block.is_start(start)) start = block.start_before(start);
  if (start == Block::kNone) return {Verdict::kNoObject, block.head(), 0, 0};
  const std::uint32_t end = block.start_behind(start);
  if (end == Block::kNone) return {Verdict::kNoObject, block.head(), 0, 0};
  if (block.is_dead(start)) return found_at(is_first ? Verdict::kDoubleFree : Verdict::kNoObject, block, start, end, pointer);
  return found_at(is_first ? Verdict::kDone : Verdict::kInterior, block, start, end, pointer);
}

Found deallocate(Mine* mine, void* pointer) {
  const Block block(static_cast<UnitIndex>(unit_of(pointer)));
  const std::uint32_t start = block.granule_of(pointer);
  if (reinterpret_cast<Address>(pointer) % kGranule != 0 || !block.is_start(start)) return look(pointer);
  const std::uint32_t end = block.start_behind(start);
  if (end == Block::kNone) return {Verdict::kNoObject, block.head(), 0, 0};
  UnitRecord& record = block.record();
  if (is_own(mine, record)) {
    if (end == mark_of(*mine)) {
      if (block.is_dead(start)) return found_at(Verdict::kDoubleFree, block, start, end, pointer);
      ++mine->own_frees;
      rewind(*mine, block, start);
      return {};
    }
    if (block.set_dead(start)) return found_at(Verdict::kDoubleFree, block, start, end, pointer);
    ++mine->own_frees;
    return {};
  }
  if (mine != nullptr) mine->freeing.store(block.head(), kRelaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // a snapshot that has the bit has the line above
  const bool was_dead = block.set_dead(start);
  // release: the next owner of the place sees what was done here before; acquire: whoever ends the block has seen all of it.
  const bool is_last = !was_dead && record.live.fetch_sub(1, std::memory_order_acq_rel) == 1;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (is_last) return {Verdict::kBlockIsDead, block.head(), 0, 0};
  if (mine != nullptr) mine->freeing.store(kNoUnit, kRelaxed);
  return was_dead ? found_at(Verdict::kDoubleFree, block, start, end, pointer) : Found{};
}

void end_block(Mine* mine, UnitIndex head) {
  give_back(head);
  if (mine != nullptr) mine->freeing.store(kNoUnit, kRelaxed);
}

bool resize_last(Mine& mine, void* pointer, std::size_t size) {
  if (mine.head == kNoUnit) return false;
  const Block block(static_cast<UnitIndex>(unit_of(pointer)));
  if (block.head() != mine.head) return false;
  const std::uint32_t start = block.granule_of(pointer);
  const std::uint32_t mark = mark_of(mine);
  const auto end = start + static_cast<std::uint32_t>((size + kGranule - 1) / kGranule);
  const auto reserve = size <= kFineMax ? Account::Reserve::kMayUse : Account::Reserve::kMustLeave;
  if (block.start_behind(start) != mark || end > mine.end || !make_ready(mine, end, reserve)) return false;
  if (end == mark) return true;
  block.set_start(end);
  block.clear_start(mark);
  store_mark(mine, end);
  if (end > mark) mine.bytes.store(mine.bytes.load(kRelaxed) + (end - mark) * kGranule, kRelaxed);
  if (end < mark && mine.has_holes) forget_holes(mine);
  return true;
}

void leave(Mine& mine) {
  if (mine.head == kNoUnit) return;
  const UnitIndex head = mine.head;
  UnitRecord& record = record_at(head);
  mine.head = kNoUnit;
  mine.ready = 0;
  record.owner.store(nullptr, kRelaxed);
  const std::uint64_t mine_alive = allocations_of(mine) - mine.allocations_before - mine.own_frees;
  // acquire, release: as in deallocate; from here on others may end it.
  const std::uint64_t before = record.live.fetch_add(mine_alive - kOwned, std::memory_order_acq_rel);
  if (before + mine_alive - kOwned == 0) give_back(head);
}

std::size_t trim(Mine& mine) {
  if (mine.head == kNoUnit) return 0;
  rewind_over_dead(mine);
  const Block block(mine.head);
  const std::uint32_t all = static_cast<std::uint32_t>(block.units().count * kPagesPerUnit);
  // Nothing behind the mark is alive, so one call does both.
  const std::size_t bytes = purge_dead_pages(block, all, 1);
  mine.has_holes = true;
  set_ready(mine, page_behind(mark_of(mine)));
  return bytes;
}

void tick(Mine& mine) {
  if (mine.head == kNoUnit || ++mine.ticks < kTicksOfOldBlock) return;
  mine.ticks = 0;
  const Block block(mine.head);
  if (purge_dead_pages(block, mark_of(mine) / kGranulesPerPage, kOldBlockPages) == 0) return;
  mine.has_holes = true;
  set_ready(mine, page_behind(mine.ready));
}

void adopt(Mine& mine) {
  if (const UnitIndex other = mine.freeing.load(kRelaxed); other != kNoUnit && other != mine.head) {
    mine.freeing.store(kNoUnit, kRelaxed);
    if (unit_use(other).load(kRelaxed) == static_cast<unsigned>(UnitUse::kBump)) count_again(Block(other));
  }
  if (mine.head == kNoUnit) return;
  const Block block(mine.head);
  const std::uint32_t mark = mark_of(mine);
  for (std::uint32_t behind = block.start_behind(mark); behind != Block::kNone; behind = block.start_behind(mark))
    block.clear_start(behind);
  block.set_start(mark);
  block.clear_dead(mark);
  mine.head = kNoUnit;
  mine.ready = 0;
  block.record().owner.store(nullptr, kRelaxed);
  count_again(block);
}

void ask_others_to_trim() { reclaim_epoch.fetch_add(1, kRelaxed); }

}  // namespace nebula::bump
