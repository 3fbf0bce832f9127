#include "slab/slab.hpp"

#include <emmintrin.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "base/bits.hpp"

namespace nebula::slab {
namespace {

constexpr std::uint64_t ones(unsigned count) { return count < 64 ? (std::uint64_t{1} << count) - 1 : ~std::uint64_t{0}; }

// The addresses of neighbours, lowest first, downward from before `end`.
[[gnu::always_inline]] inline void write_run(void** end, Address first, std::size_t size, unsigned count) {
  __m128i pair = _mm_set_epi64x(static_cast<long long>(first), static_cast<long long>(first + size));
  const __m128i step = _mm_set1_epi64x(static_cast<long long>(2 * size));
#pragma GCC unroll 4  // else the loop's own three instructions are as many as a pair's
  for (; count >= 2; count -= 2, pair = _mm_add_epi64(pair, step)) _mm_storeu_si128(reinterpret_cast<__m128i*>(end -= 2), pair);
  if (count != 0) _mm_storeh_pi(reinterpret_cast<__m64*>(end - 1), _mm_castsi128_ps(pair));
}

pages::Range pages_of_slot(UnitIndex unit, std::size_t size, unsigned slot) {
  const std::size_t first = slot * size / kPageSize;
  return {first_page_of(unit) + first, {pages_for((slot + 1) * size).count - first}};
}

// Which slots of a word of the bitmap may be taken, of those that came back: without holes all of them.
struct AnySlot {
  std::uint64_t operator()(unsigned, std::uint64_t bits) const { return bits; }
};

struct SlotOnCommittedPages {
  UnitIndex unit;
  std::size_t size;

  std::uint64_t operator()(unsigned word, std::uint64_t bits) const {
    std::uint64_t result = 0;
    for (std::uint64_t rest = bits; rest != 0; rest &= rest - 1) {
      const pages::Range range = pages_of_slot(unit, size, word * 64 + static_cast<unsigned>(std::countr_zero(rest)));
      if (pages::committed_in(range).count == range.count.count) result |= rest & -rest;
    }
    return result;
  }
};

// Slots that came back, lowest first. At least `wanted` are taken if there are so many; beyond that only slots on the last
// one's cache line.
template <class May>
unsigned take_returned(Slab& slab, Address base, std::size_t size, void** end, unsigned wanted, unsigned room, May may) {
  unsigned taken = 0;
  const unsigned words = (slab.bump + 63u) / 64;
  unsigned word = slab.first_word;
  Address line = 0;
  for (; word < words && taken < slab.free; ++word) {
    const std::uint64_t never_used = ~ones(slab.bump - word * 64u);
    std::uint64_t bits = may(word, slab.bitmap[word] & ~never_used);
    const std::uint64_t others = slab.bitmap[word] & ~bits;
    const Address first = base + word * 64u * size;
    while (bits != 0) {
      const auto lowest = static_cast<unsigned>(std::countr_zero(bits));
      const Address address = first + lowest * size;
      unsigned count = 1;
      if (taken >= wanted) {
        if (taken >= room || address / kCacheLine != line) break;
      } else if ((bits >> lowest & 2) != 0) {
        count = std::min(static_cast<unsigned>(std::countr_one(bits >> lowest)), wanted - taken);
      }
      if (count == 1) *(end - taken - 1) = reinterpret_cast<void*>(address);
      else write_run(end - taken, address, size, count);
      bits &= ~(ones(count) << lowest);
      taken += count;
      line = (address + count * size - 1) / kCacheLine;
    }
    slab.bitmap[word] = bits | others;
    if (bits != 0) break;
  }
  slab.free = static_cast<std::uint16_t>(slab.free - taken);
  if constexpr (std::is_same_v<May, AnySlot>) slab.first_word = static_cast<std::uint16_t>(word);
  return taken;
}

// The pages of so many slots that came back, lowest first, or of fewer.
void commit_holes(const Slab& slab, UnitIndex unit, std::size_t size, unsigned slots) {
  for (unsigned slot = slab.first_word * 64u; slot < slab.bump && slots != 0; ++slot) {
    if ((slab.bitmap[slot / 64] >> (slot % 64) & 1) == 0) continue;
    if (!pages::commit(pages_of_slot(unit, size, slot), reserve_for(slab.size_class))) return;
    --slots;
  }
}

bool has_clean_pages(UnitIndex unit) {
  const pages::Range used = used_range(unit);
  return pages::committed_in(used).count != used.count.count;
}

// Slots on committed pages first: what lies in a hole costs memory.
[[gnu::noinline]] unsigned take_beside_holes(Slab& slab, UnitIndex unit, Address base, std::size_t size, void** end, unsigned wanted,
                                             unsigned room) {
  const SlotOnCommittedPages may = {unit, size};
  unsigned taken = take_returned(slab, base, size, end, wanted, room, may);
  if (taken < wanted && slab.free != 0) {
    commit_holes(slab, unit, size, wanted - taken);
    taken += take_returned(slab, base, size, end - taken, wanted - taken, room - taken, may);
    slab.has_holes = has_clean_pages(unit);
  }
  return taken;
}

// How many slots from the mark on can be had with their pages committed: all wanted, else one, else none.
unsigned commit_tail(const Slab& slab, UnitIndex unit, std::size_t size, unsigned wanted) {
  while (wanted != 0) {
    const std::size_t from = slab.bump * size / kPageSize;
    const Pages to = pages_for((slab.bump + wanted) * size);
    if (pages::commit({first_page_of(unit) + from, {to.count - from}}, reserve_for(slab.size_class))) return wanted;
    wanted = wanted == 1 ? 0 : 1;
  }
  return 0;
}

constexpr unsigned kRunLeast = 8;
constexpr unsigned kRunPiece = 16;
constexpr unsigned kRunMost = 64;  // at most two words of the bitmap

// Two neighbours of slots, and those that come next.
struct Pair {
  __m128i addresses;
  __m128i two_steps;

  Pair(Address first, Address step)
      : addresses(_mm_set_epi64x(static_cast<long long>(first + step), static_cast<long long>(first))),
        two_steps(_mm_set1_epi64x(static_cast<long long>(2 * step))) {}

  // Whether so many slots are these and their next ones, without a branch. Goes behind them.
  template <unsigned kCount>
  [[gnu::always_inline]] bool are_at(void* const* slots) {
    __m128i differences = _mm_setzero_si128();
    for (unsigned i = 0; i < kCount; i += 2, addresses = _mm_add_epi64(addresses, two_steps)) {
      const __m128i found = _mm_loadu_si128(reinterpret_cast<const __m128i*>(slots + i));
      differences = _mm_or_si128(differences, _mm_xor_si128(found, addresses));
      asm("" : "+x"(differences), "+x"(addresses));  // else a third of the loop are copies from register to register
    }
    return _mm_movemask_epi8(_mm_cmpeq_epi32(differences, _mm_setzero_si128())) == 0xffff;
  }
};

// How many slots from here on are neighbours, by this step: whole pieces, else the least, else none.
[[gnu::always_inline]] inline unsigned run_at(void* const* slots, unsigned most, Address step) {
  const auto first = reinterpret_cast<Address>(slots[0]);
  Pair pair(first, step);
  unsigned run = 0;
  while (most - run >= kRunPiece && pair.are_at<kRunPiece>(slots + run)) run += kRunPiece;
  if (run != 0 || most < kRunLeast) return run;
  return Pair(first, step).are_at<kRunLeast>(slots) ? kRunLeast : 0;
}

// Puts back runs from the front of the slots, of neighbours, lowest first or last: what a program allocates one after the other and frees in
// that order, or the other way round. One comparison tells of most that they are none. Only what lies in this slab and was outside it; how
// many slots.
[[gnu::always_inline]] inline unsigned put_back_runs(Slab& slab, Address start, std::size_t size, std::uint64_t reciprocal,
                                                     void* const* slots, unsigned count) {
  unsigned done = 0;
  unsigned first_word = slab.first_word;
  while (count - done >= kRunLeast) {
    const auto first = reinterpret_cast<Address>(slots[done]);
    const auto eighth = reinterpret_cast<Address>(slots[done + kRunLeast - 1]);
    const bool falls = eighth < first;
    const Address step = falls ? -size : size;
    if (eighth - first != (kRunLeast - 1) * step) break;
    const SlotPlace place = slot_place(reciprocal, first - start);  // what lies below wraps: all that is no slot here is above the capacity
    if (place.slot >= slab.capacity || !place.is_start(reciprocal)) break;
    const auto in_slab = static_cast<unsigned>(falls ? place.slot + 1 : slab.capacity - place.slot);
    const unsigned run = run_at(slots + done, std::min({count - done, in_slab, kRunMost}), step);
    if (run == 0) break;
    const auto lowest = static_cast<unsigned>(falls ? place.slot + 1 - run : place.slot);
    std::uint64_t* const word = slab.bitmap + lowest / 64;
    const unsigned shift = lowest % 64;
    const std::uint64_t bits = ones(run) << shift;
    if ((word[0] & bits) != 0) break;  // misuse, to be told of exactly
    if (shift + run > 64) {
      const std::uint64_t beyond = ones(run) >> (64 - shift);
      if ((word[1] & beyond) != 0) break;
      word[1] |= beyond;
    }
    word[0] |= bits;
    first_word = std::min(first_word, lowest / 64);
    done += run;
  }
  slab.first_word = static_cast<std::uint16_t>(first_word);
  slab.free = static_cast<std::uint16_t>(slab.free + done);
  return done;
}

}  // namespace

void begin(UnitIndex unit, SizeClass c) {
  Slab& slab = at(unit);
  slab.next = slab.previous = kNoUnit;
  slab.capacity = static_cast<std::uint16_t>(slots_per_slab(c));
  slab.bump = slab.free = slab.first_word = 0;
  slab.quarter = static_cast<std::uint16_t>(slab.capacity / 4u + 1);
  slab.size_class = c;
  slab.list = 0;
  slab.is_busy = slab.has_holes = slab.is_quiet = slab.is_idle = false;
  slab.seen_by = 0;
  // To the word of the last byte's slot, which may lie beyond the capacity.
  const unsigned last = slot_at(c, units_per_slab(c) * kUnitSize - 1);
  std::memset(slab.bitmap, 0xff, (last / 64 + 1) * sizeof slab.bitmap[0]);
}

pages::Range used_range(UnitIndex unit) {
  const Slab& slab = at(unit);
  return {first_page_of(unit), pages_for(slab.bump * slot_size(slab.size_class))};
}

std::uint64_t free_pages(UnitIndex unit) {
  const Slab& slab = at(unit);
  const std::size_t size = slot_size(slab.size_class);
  const std::size_t pages = units_per_slab(slab.size_class) * kPagesPerUnit;
  std::uint64_t result = 0;
  for (std::size_t page = 0; page < pages; ++page) {
    if (pages::committed_in({first_page_of(unit) + page, {1}}).count == 0) continue;
    const std::size_t behind = std::min<std::size_t>(((page + 1) * kPageSize - 1) / size + 1, slab.bump);
    std::size_t slot = page * kPageSize / size;
    while (slot < behind) {
      const auto here = static_cast<unsigned>(std::min(64 - slot % 64, behind - slot));
      if ((~slab.bitmap[slot / 64] >> (slot % 64) & ones(here)) != 0) break;
      slot += here;
    }
    if (slot >= behind) result |= std::uint64_t{1} << page;
  }
  return result;
}

unsigned take(UnitIndex unit, void** end, unsigned wanted, unsigned room) {
  Slab& slab = at(unit);
  const Address base = address_of_unit(unit);
  const std::size_t size = slot_size(slab.size_class);
  unsigned taken = 0;
  if (slab.is_busy) [[unlikely]] return 0;
  slab.is_quiet = slab.is_idle = false;
  if (slab.free != 0)
    taken = slab.has_holes ? take_beside_holes(slab, unit, base, size, end, wanted, room)
                           : take_returned(slab, base, size, end, wanted, room, AnySlot{});
  if (taken >= wanted || slab.bump == slab.capacity) return taken;

  unsigned fresh = wanted - taken;
  // Up to the end of the last cache line.
  if (size < kCacheLine) {
    const std::size_t stop = round_up((slab.bump + fresh) * size, kCacheLine) / size;
    const auto more = static_cast<unsigned>(stop - slab.bump);
    if (taken + more <= room) fresh = more;
  }
  if (fresh > static_cast<unsigned>(slab.capacity - slab.bump)) fresh = static_cast<unsigned>(slab.capacity - slab.bump);
  fresh = commit_tail(slab, unit, size, fresh);
  const Address address = base + slab.bump * size;
  write_run(end - taken, address, size, fresh);
  taken += fresh;
  for (unsigned slot = slab.bump; slot < slab.bump + fresh;) {
    const unsigned in_word = std::min(64 - slot % 64, slab.bump + fresh - slot);
    slab.bitmap[slot / 64] &= ~(ones(in_word) << (slot % 64));
    slot += in_word;
  }
  slab.bump = static_cast<std::uint16_t>(slab.bump + fresh);
  return taken;
}

unsigned put_back(UnitIndex unit, SizeClass c, void* const* slots, unsigned count, Returned& verdict) {
  Slab& slab = at(unit);
  const Address start = address_of_unit(unit);
  const std::size_t bytes = units_per_slab(c) * kUnitSize;
  const std::uint64_t reciprocal = kSizeClasses.reciprocal[index_of(c)];
  verdict = Returned::kBack;
  const unsigned in_runs = put_back_runs(slab, start, slot_size(c), reciprocal, slots, count);
  if (in_runs == count || reinterpret_cast<Address>(slots[in_runs]) - start >= bytes) return in_runs;
  slots += in_runs;
  count -= in_runs;
  void* const* next = slots;
  void* const* const end = slots + count;
  std::uint64_t word = slot_place(reciprocal, reinterpret_cast<Address>(*slots) - start).slot / 64;
  std::uint64_t lowest = std::min<std::uint64_t>(slab.first_word, word);
  std::uint64_t bits = slab.bitmap[word];
  do {
    const std::size_t offset = reinterpret_cast<Address>(*next) - start;
    if (offset >= bytes) break;
    const SlotPlace place = slot_place(reciprocal, offset);
    if (!place.is_start(reciprocal)) [[unlikely]] {
      verdict = Returned::kInterior;
      break;
    }
    if (place.slot / 64 != word) {
      slab.bitmap[word] = bits;
      word = place.slot / 64;
      bits = slab.bitmap[word];
      lowest = std::min(lowest, word);
    }
    if (test_and_set(bits, place.slot)) [[unlikely]] {
      verdict = place.slot < slab.bump ? Returned::kDoubleFree : Returned::kNeverAllocated;
      break;
    }
  } while (++next != end);
  slab.bitmap[word] = bits;
  slab.first_word = static_cast<std::uint16_t>(lowest);
  const auto done = static_cast<unsigned>(next - slots);
  slab.free = static_cast<std::uint16_t>(slab.free + done);
  return in_runs + done;
}

void recount(UnitIndex unit) {
  Slab& slab = at(unit);
  unsigned back = 0;
  for (unsigned word = 0; word < kBitmapWords; ++word) {
    const unsigned first = word * 64;
    const std::uint64_t below = slab.bump <= first ? 0 : slab.bump - first >= 64 ? ~std::uint64_t{0} : ones(slab.bump - first);
    slab.bitmap[word] |= ~below;  // as begin() leaves what was never handed out
    back += static_cast<unsigned>(std::popcount(slab.bitmap[word] & below));
  }
  slab.free = static_cast<std::uint16_t>(back);
  slab.first_word = 0;
  slab.has_holes = has_clean_pages(unit);
}

}  // namespace nebula::slab
