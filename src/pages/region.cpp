#include "pages/region.hpp"

#include <bit>
#include <cstring>

#include "base/bits.hpp"
#include "base/start_data.hpp"
#include "budget/heap_accounts.hpp"
#include "os/memory.hpp"
#include "pages/locking.hpp"

namespace nebula::pages {
namespace {

NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> purges{0};  // all relaxed: totals for the report
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> purged_bytes{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> purge_refusals{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> advices{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> advised_bytes{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> advice_refusals{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> moves{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> moved_bytes{0};

constexpr auto kRelaxed = std::memory_order_relaxed;

// Calls visit(word, mask, first page of the word) for each word of page bits that the range touches.
template <class Visitor>
void for_each_word(Range range, Visitor visit) {
  PageIndex page = range.first;
  const PageIndex end = range.first + range.count.count;
  while (page < end) {
    const PageIndex word_start = page & ~PageIndex{63};
    const PageIndex stop = end < word_start + 64 ? end : word_start + 64;
    const std::uint64_t upper = stop == word_start + 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << (stop & 63)) - 1;
    const std::uint64_t mask = upper & (~std::uint64_t{0} << (page & 63));
    auto& region = region_at(static_cast<RegionIndex>(page / kPagesPerRegion));
    visit(region.committed[page % kPagesPerRegion / 64], mask, word_start);
    page = stop;
  }
}

// Whose the pages of a range are: it lies within a span.
HeapId heap_of(Range range) { return region_at(static_cast<RegionIndex>(range.first / kPagesPerRegion)).heap; }

bool move_unlocked(Address from, Address to, std::size_t bytes) {
  locking::open_for_move(from, bytes);
  locking::open_for_move(to, bytes);
  const bool is_moved = os::move_pages(from, to, bytes);
  locking::close_after_move(from, bytes);
  locking::close_after_move(to, bytes);
  return is_moved;
}

// What of a range one call to the kernel is about; nothing when none of it is committed and only that counts.
Range part_to_tell(Range range, Extent extent) {
  if (extent == Extent::kWhole) return range;
  PageIndex first = ~PageIndex{0};
  PageIndex last = 0;
  for_each_word(range, [&](auto& word, std::uint64_t mask, PageIndex start) {
    const std::uint64_t bits = word.load(kRelaxed) & mask;
    if (bits == 0) return;
    if (first == ~PageIndex{0}) first = start + static_cast<unsigned>(std::countr_zero(bits));
    last = start + 63 - static_cast<unsigned>(std::countl_zero(bits));
  });
  if (first == ~PageIndex{0}) return {};
  return {first, {last - first + 1}};
}

}  // namespace

Pages committed_in(Range range) {
  std::size_t missing = 0;  // mostly none are
  for_each_word(range, [&](auto& word, std::uint64_t mask, PageIndex) {
    if (const std::uint64_t clean = ~word.load(kRelaxed) & mask; clean != 0) missing += count_ones(clean);
  });
  return range.count - Pages{missing};
}

bool commit(Range range, Account::Reserve reserve) {
  const Pages missing = range.count - committed_in(range);
  if (missing.count == 0) return true;
  if (!heap_accounts::charge_pages(heap_of(range), missing.bytes(), reserve)) return false;
  note_committed(range);
  return true;
}

bool touch(Range range) {
  const os::PopulateResult result = os::populate(address_of_page(range.first), range.count.bytes());
  if (result == os::PopulateResult::kUnknown)
    for (std::size_t i = 0; i < range.count.count; ++i) *reinterpret_cast<volatile char*>(address_of_page(range.first + i)) = 0;
  return result != os::PopulateResult::kRefused;
}

void clear_committed(Range range) {
  for_each_word(range, [](auto& word, std::uint64_t mask, PageIndex first) {
    std::uint64_t bits = word.load(kRelaxed) & mask;
    while (bits != 0) {
      const auto start = static_cast<unsigned>(std::countr_zero(bits));
      const auto length = static_cast<unsigned>(std::countr_one(bits >> start));
      std::memset(reinterpret_cast<void*>(address_of_page(first + start)), 0, std::size_t{length} * kPageSize);
      if (start + length >= 64) break;
      bits &= ~std::uint64_t{0} << (start + length);
    }
  });
}

void note_committed(Range range) {
  for_each_word(range, [](auto& word, std::uint64_t mask, PageIndex) { word.fetch_or(mask, kRelaxed); });
}

bool is_fixed(Range range) {
  const PageIndex end = range.first + range.count.count;
  for (PageIndex page = range.first; page < end; page = (page / kPagesPerRegion + 1) * kPagesPerRegion)
    if (region_at(static_cast<RegionIndex>(page / kPagesPerRegion)).is_huge_tlb) return true;
  return false;
}

bool purge(Range range, Extent extent) {
  if (is_fixed(range)) return false;
  const Range part = part_to_tell(range, extent);
  if (part.count.count == 0) return true;
  if (!locking::discard(address_of_page(part.first), part.count.bytes())) {
    purge_refusals.fetch_add(1, kRelaxed);
    return false;
  }
  const std::size_t bytes = committed_in(range).bytes();
  for_each_word(range, [](auto& word, std::uint64_t mask, PageIndex) { word.fetch_and(~mask, kRelaxed); });
  heap_accounts::credit_pages(heap_of(range), bytes);
  purges.fetch_add(1, kRelaxed);
  purged_bytes.fetch_add(bytes, kRelaxed);
  return true;
}

bool advise(Range range, Extent extent, os::Advice advice) {
  const Range part = part_to_tell(range, extent);
  if (part.count.count == 0) return true;
  if (!os::advise_idle(address_of_page(part.first), part.count.bytes(), advice)) {
    advice_refusals.fetch_add(1, kRelaxed);
    return false;
  }
  advices.fetch_add(1, kRelaxed);
  advised_bytes.fetch_add(committed_in(range).bytes(), kRelaxed);
  return true;
}

bool renew(RegionIndex region) {
  const Range range = pages_of(region);
  if (!os::map_over(address_of_page(range.first), kRegionSize)) return false;
  locking::note_renewed(address_of_page(range.first), kRegionSize);
  const std::size_t bytes = committed_in(range).bytes();
  for_each_word(range, [](auto& word, std::uint64_t mask, PageIndex) { word.fetch_and(~mask, kRelaxed); });
  heap_accounts::credit_pages(heap_of(range), bytes);
  purges.fetch_add(1, kRelaxed);
  purged_bytes.fetch_add(bytes, kRelaxed);
  return true;
}

bool move(Range from, Range to) {
  if (is_fixed(from) || is_fixed(to)) return false;
  if (!move_unlocked(address_of_page(from.first), address_of_page(to.first), from.count.bytes())) return false;
  // What was committed at `to` was dropped by the kernel; what was at `from` is now at `to`.
  const Pages dropped = committed_in(to);
  for_each_word(to, [](auto& word, std::uint64_t mask, PageIndex) { word.fetch_and(~mask, kRelaxed); });
  PageIndex target = to.first;
  for (std::size_t i = 0; i < from.count.count; ++i, ++target) {
    const Range source_page = {from.first + i, {1}};
    if (committed_in(source_page).count == 0) continue;
    for_each_word({target, {1}}, [](auto& word, std::uint64_t mask, PageIndex) { word.fetch_or(mask, kRelaxed); });
  }
  for_each_word(from, [](auto& word, std::uint64_t mask, PageIndex) { word.fetch_and(~mask, kRelaxed); });
  heap_accounts::credit_pages(heap_of(to), dropped.bytes());
  moves.fetch_add(1, kRelaxed);
  moved_bytes.fetch_add(from.count.bytes(), kRelaxed);
  return true;
}

PurgeCounts purge_counts() {
  return {purges.load(kRelaxed), purged_bytes.load(kRelaxed), purge_refusals.load(kRelaxed), advices.load(kRelaxed),
          advised_bytes.load(kRelaxed), advice_refusals.load(kRelaxed), moves.load(kRelaxed), moved_bytes.load(kRelaxed)};
}

}  // namespace nebula::pages
