// Bit operations on sizes and on the 32-bit masks that stand for a region's units.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

#include "base/units.hpp"

namespace nebula {

template <std::unsigned_integral T>
[[nodiscard]] constexpr T round_up(T value, T power_of_two) {
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}

[[nodiscard]] constexpr bool is_power_of_two(std::size_t value) {
  return value != 0 && (value & (value - 1)) == 0;  // std::has_single_bit calls a function where there is no popcnt
}

// In line: std::popcount calls a function where there is no popcnt.
[[nodiscard]] constexpr unsigned count_ones(std::uint64_t bits) {
  constexpr std::uint64_t kEach = ~std::uint64_t{0};
  bits -= bits >> 1 & kEach / 3;
  bits = (bits & kEach / 5) + (bits >> 2 & kEach / 5);
  bits = (bits + (bits >> 4)) & kEach / 17;
  return static_cast<unsigned>(bits * (kEach / 255) >> 56);
}

// `count` ones from bit `first`; count 0 to 32, first + count at most 32.
[[nodiscard]] constexpr std::uint32_t mask_of(unsigned first, unsigned count) {
  return count == 0 ? 0 : (~std::uint32_t{0} >> (32 - count)) << first;
}

// The length of the longest run of ones. Each step shortens every run by one.
[[nodiscard]] constexpr unsigned longest_run(std::uint32_t mask) {
  if (mask == ~std::uint32_t{0}) return 32;
  unsigned length = 0;
  for (; mask != 0; ++length) mask &= mask << 1;
  return length;
}

// Sets the bit at `index` modulo 64; whether it was set. One instruction, where shift, test and or would be five.
[[nodiscard]] [[gnu::always_inline]] inline bool test_and_set(std::uint64_t& word, std::uint64_t index) {
  bool was_set;
  asm("btsq %2, %0" : "+r"(word), "=@ccc"(was_set) : "r"(index));
  return was_set;
}

inline constexpr unsigned kNoRun = 32;

// The first bit of the shortest run of ones that holds `count` ones starting at a multiple of `alignment` (a power of
// two); the lowest of equals; kNoRun when there is none.
[[nodiscard]] constexpr unsigned best_run(std::uint32_t mask, unsigned count, unsigned alignment) {
  unsigned best = kNoRun;
  unsigned best_length = kNoRun + 1;
  while (mask != 0) {
    const auto first = static_cast<unsigned>(std::countr_zero(mask));
    const auto length = static_cast<unsigned>(std::countr_one(mask >> first));
    const unsigned start = round_up(first, alignment);
    if (start + count <= first + length && length < best_length) {
      best = start;
      best_length = length;
    }
    if (first + length >= 32) break;
    mask &= ~std::uint32_t{0} << (first + length);
  }
  return best;
}

}  // namespace nebula
