#include "slab/slab.hpp"

#include <emmintrin.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/bits.hpp"

namespace nebula::slab {
namespace {

constexpr std::uint64_t ones(unsigned count) { return count < 64 ? (std::uint64_t{1} << count) - 1 : ~std::uint64_t{0}; }

// The addresses of neighbours, lowest first, downward from before `end`.
[[gnu::always_inline]] inline void write_run(void** end, Address first, std::size_t size, unsigned count) {
  __m128i pair = _mm_set_epi64x(static_cast<long long>(first), static_cast<long long>(first + size));
  const __m128i step = _mm_set1_epi64x(static_cast<long long>(2 * size));
  for (; count >= 2; count -= 2, pair = _mm_add_epi64(pair, step)) _mm_storeu_si128(reinterpret_cast<__m128i*>(end -= 2), pair);
  if (count != 0) _mm_storeh_pi(reinterpret_cast<__m64*>(end - 1), _mm_castsi128_ps(pair));
}

// Slots that came back, lowest first. At least `wanted` are taken if there are so many; beyond that only slots on the last
// one's cache line.
unsigned take_returned(Slab& slab, Address base, std::size_t size, void** end, unsigned wanted, unsigned room) {
  unsigned taken = 0;
  const unsigned words = (slab.bump + 63u) / 64;
  unsigned word = slab.first_word;
  Address line = 0;
  for (; word < words && taken < slab.free; ++word) {
    const std::uint64_t never_used = ~ones(slab.bump - word * 64u);
    std::uint64_t bits = slab.bitmap[word] & ~never_used;
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
    slab.bitmap[word] = bits | (slab.bitmap[word] & never_used);
    if (bits != 0) break;
  }
  slab.free = static_cast<std::uint16_t>(slab.free - taken);
  slab.first_word = static_cast<std::uint16_t>(word);
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

constexpr unsigned kRun = 8;
constexpr std::uint64_t kRunBits = ones(kRun);

// Whether so many slots from here on are neighbours, lowest first or last: what a program allocates one after the other and frees in
// that order, or the other way round. One comparison tells of most that they are not.
[[gnu::always_inline]] inline bool is_run(void* const* slots, std::size_t size) {
  const auto first = reinterpret_cast<Address>(slots[0]);
  const Address step = reinterpret_cast<Address>(slots[kRun - 1]) < first ? -size : size;
  if (reinterpret_cast<Address>(slots[kRun - 1]) - first != (kRun - 1) * step) return false;
  Address differences = 0;
  for (unsigned i = 1; i < kRun - 1; ++i) differences |= (reinterpret_cast<Address>(slots[i]) - first) ^ (i * step);
  return differences == 0;
}

// Puts back runs from the front of the slots, as long as they lie in this slab and were outside it; how many slots.
[[gnu::noinline]] unsigned put_back_runs(Slab& slab, Address start, std::size_t bytes, std::size_t size, std::uint64_t reciprocal,
                                         void* const* slots, unsigned count) {
  unsigned done = 0;
  std::uint64_t lowest = slab.first_word;
  for (; count - done >= kRun && is_run(slots + done, size); done += kRun) {
    const Address first = reinterpret_cast<Address>(slots[done]);
    const Address last = reinterpret_cast<Address>(slots[done + kRun - 1]);
    const SlotPlace place = slot_place(reciprocal, (first < last ? first : last) - start);
    if (first - start >= bytes || last - start >= bytes || !place.is_start(reciprocal)) break;
    std::uint64_t* const word = slab.bitmap + place.slot / 64;
    const unsigned shift = place.slot % 64;
    const std::uint64_t bits = kRunBits << shift;
    const std::uint64_t beyond = shift > 64 - kRun ? kRunBits >> (64 - shift) : 0;
    if ((word[0] & bits) != 0 || (beyond != 0 && (word[1] & beyond) != 0)) break;  // misuse, to be told of exactly
    word[0] |= bits;
    if (beyond != 0) word[1] |= beyond;
    lowest = std::min(lowest, place.slot / 64);
  }
  slab.first_word = static_cast<std::uint16_t>(lowest);
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
  slab.tail_is_busy = false;
  slab.seen_by = 0;
  // To the word of the last byte's slot, which may lie beyond the capacity.
  const unsigned last = slot_at(c, units_per_slab(c) * kUnitSize - 1);
  std::memset(slab.bitmap, 0xff, (last / 64 + 1) * sizeof slab.bitmap[0]);
}

pages::Range committed_range(UnitIndex unit) {
  const Slab& slab = at(unit);
  return {first_page_of(unit), pages_for(slab.bump * slot_size(slab.size_class))};
}

unsigned take(UnitIndex unit, void** end, unsigned wanted, unsigned room) {
  Slab& slab = at(unit);
  const Address base = address_of_unit(unit);
  const std::size_t size = slot_size(slab.size_class);
  unsigned taken = 0;
  if (slab.free != 0) taken = take_returned(slab, base, size, end, wanted, room);
  if (taken >= wanted || slab.bump == slab.capacity || slab.tail_is_busy) return taken;

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
  unsigned in_runs = 0;
  if (count >= kRun && is_run(slots, slot_size(c))) {
    in_runs = put_back_runs(slab, start, bytes, slot_size(c), reciprocal, slots, count);
    if (in_runs == count || reinterpret_cast<Address>(slots[in_runs]) - start >= bytes) return in_runs;
    slots += in_runs;
    count -= in_runs;
  }
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
}

}  // namespace nebula::slab
