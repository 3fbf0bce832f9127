#include "slab/slab.hpp"

#include <bit>
#include <cstring>

#include "base/bits.hpp"

namespace nebula::slab {
namespace {

// Slots of the bitmap, lowest first. At least `wanted` are taken if there are so many; beyond that only slots on
// the last one's cache line.
unsigned take_returned(Slab& slab, Address base, std::size_t size, void** end, unsigned wanted, unsigned room) {
  unsigned taken = 0;
  const unsigned words = (slab.bump + 63u) / 64;
  unsigned word = slab.first_word;
  Address line = 0;
  for (; word < words && slab.free != 0; ++word) {
    std::uint64_t bits = slab.bitmap[word];
    while (bits != 0) {
      const Address address = base + (word * 64u + static_cast<unsigned>(std::countr_zero(bits))) * size;
      if (taken >= wanted && (taken >= room || address / kCacheLine != line)) break;
      bits &= bits - 1;
      *(end - ++taken) = reinterpret_cast<void*>(address);
      line = (address + size - 1) / kCacheLine;
    }
    slab.free = static_cast<std::uint16_t>(
        slab.free - std::popcount(slab.bitmap[word] ^ bits));
    slab.bitmap[word] = bits;
    if (bits != 0) break;
  }
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
  slab.size_class = c;
  slab.list = 0;
  slab.tail_is_busy = false;
  std::memset(slab.bitmap, 0, (slab.capacity + 63u) / 64 * sizeof slab.bitmap[0]);
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
  slab.bump = static_cast<std::uint16_t>(slab.bump + fresh);
  return taken;
}

}  // namespace nebula::slab
