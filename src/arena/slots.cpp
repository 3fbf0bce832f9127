#include "arena/slots.hpp"

#include <bit>

#include "base/bits.hpp"
#include "diag/misuse.hpp"

namespace nebula::arena {
namespace {

constexpr std::size_t kBits = 64;

constexpr std::size_t words_for(std::size_t slots) { return (slots + kBits - 1) / kBits; }

}  // namespace

Slots* begin_slots(void* start, std::size_t bytes, std::size_t size, std::size_t alignment) {
  const auto begin = reinterpret_cast<Address>(start);
  const Address end = begin + bytes;
  Address first = 0;
  std::size_t capacity = bytes / size;  // too many: their bits need room
  for (; capacity != 0; --capacity) {
    first = round_up(begin + sizeof(Slots) + words_for(capacity) * sizeof(std::uint64_t), alignment);
    if (first <= end && capacity * size <= end - first) break;
  }
  if (capacity == 0) return nullptr;
  auto* const slots = static_cast<Slots*>(start);
  const auto count = static_cast<std::uint32_t>(capacity);
  *slots = {nullptr, nullptr, static_cast<std::uint32_t>(size), count, count, 0, first, first + capacity * size};
  auto* const bits = reinterpret_cast<std::uint64_t*>(slots + 1);
  for (std::size_t word = 0; word < words_for(capacity); ++word) {
    const std::size_t left = capacity - word * kBits;
    bits[word] = left >= kBits ? ~std::uint64_t{0} : (std::uint64_t{1} << left) - 1;
  }
  return slots;
}

void* Slots::take() {
  while (bits()[first_word] == 0) ++first_word;
  std::uint64_t& word = bits()[first_word];
  const std::size_t index = first_word * kBits + static_cast<std::size_t>(std::countr_zero(word));
  word &= word - 1;
  --free;
  return reinterpret_cast<void*>(first + index * size);
}

Slots::Given Slots::look(const void* pointer) const {
  const auto address = reinterpret_cast<Address>(pointer);
  if (address < first || address >= end) return {Verdict::kNoObject, 0};
  const std::size_t index = (address - first) / size;
  const bool is_free = (bits()[index / kBits] >> index % kBits & 1) != 0;
  if (const std::size_t offset = (address - first) % size; offset != 0)
    return is_free ? Given{Verdict::kNoObject, 0} : Given{Verdict::kInterior, offset};
  return {is_free ? Verdict::kDoubleFree : Verdict::kDone, 0};
}

Slots::Given Slots::give(const void* pointer) {
  const Given given = look(pointer);
  if (given.verdict != Verdict::kDone) return given;
  const std::size_t index = (reinterpret_cast<Address>(pointer) - first) / size;
  const auto word = static_cast<std::uint32_t>(index / kBits);
  bits()[word] |= std::uint64_t{1} << index % kBits;
  if (word < first_word) first_word = word;
  ++free;
  return given;
}

void refuse(const char* place, const void* pointer, std::size_t size, Slots::Given given, const char* call) {
  switch (given.verdict) {
    case Slots::Verdict::kDoubleFree: return misuse::double_free_in(place, pointer, size, call);
    case Slots::Verdict::kInterior: return misuse::interior_in(place, pointer, size, given.offset, call);
    default: return misuse::no_object_of(place, pointer, call);
  }
}

}  // namespace nebula::arena
