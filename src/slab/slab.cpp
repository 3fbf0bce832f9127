#include "slab/slab.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/bits.hpp"

namespace nebula::slab {
namespace {

std::uint64_t ones(unsigned count) { return count < 64 ? (std::uint64_t{1} << count) - 1 : ~std::uint64_t{0}; }

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
    if (bits == ~std::uint64_t{0} && taken + 64 <= wanted) {
      Address address = first;
      for (void** const stop = end - taken - 64; stop != end - taken; address += size, ++taken)
        *(end - taken - 1) = reinterpret_cast<void*>(address);
      bits = 0;
    }
    while (bits != 0) {
      const Address address = first + static_cast<unsigned>(std::countr_zero(bits)) * size;
      if (taken >= wanted && (taken >= room || address / kCacheLine != line)) break;
      bits &= bits - 1;
      *(end - ++taken) = reinterpret_cast<void*>(address);
      line = (address + size - 1) / kCacheLine;
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
  Address address = base + slab.bump * size;
  for (unsigned i = 0; i < fresh; ++i, address += size) *(end - ++taken) = reinterpret_cast<void*>(address);
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
  void* const* next = slots;
  void* const* const end = slots + count;
  std::uint64_t word = slot_place(reciprocal, reinterpret_cast<Address>(*slots) - start).slot / 64;
  std::uint64_t lowest = std::min<std::uint64_t>(slab.first_word, word);
  std::uint64_t bits = slab.bitmap[word];
  verdict = Returned::kBack;
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
  return done;
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
