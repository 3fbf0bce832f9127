#include "base/bits.hpp"

#include <gtest/gtest.h>

#include <bit>

#include "base/units.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

unsigned longest_run_by_hand(std::uint32_t mask) {
  unsigned longest = 0;
  unsigned now = 0;
  for (unsigned i = 0; i < 32; ++i) {
    now = (mask >> i & 1) != 0 ? now + 1 : 0;
    if (now > longest) longest = now;
  }
  return longest;
}

// By the definition: of all runs that hold such a stretch, the shortest, of these the lowest.
unsigned best_run_by_hand(std::uint32_t mask, unsigned count, unsigned alignment) {
  unsigned best = kNoRun;
  unsigned best_length = 33;
  for (unsigned first = 0; first < 32;) {
    if ((mask >> first & 1) == 0) {
      ++first;
      continue;
    }
    unsigned end = first;
    while (end < 32 && (mask >> end & 1) != 0) ++end;
    for (unsigned start = first; start + count <= end; ++start) {
      if (start % alignment != 0) continue;
      if (end - first < best_length) {
        best = start;
        best_length = end - first;
      }
      break;
    }
    first = end;
  }
  return best;
}

TEST(Bits, RoundUpReachesTheNextMultiple) {
  EXPECT_EQ(round_up(std::size_t{0}, std::size_t{16}), 0u);
  EXPECT_EQ(round_up(std::size_t{1}, std::size_t{16}), 16u);
  EXPECT_EQ(round_up(std::size_t{16}, std::size_t{16}), 16u);
  EXPECT_EQ(round_up(std::size_t{17}, std::size_t{16}), 32u);
}

TEST(Bits, MaskOfHasExactlyItsBits) {
  for (unsigned first = 0; first <= 32; ++first) {
    for (unsigned count = 0; first + count <= 32; ++count) {
      if (first == 32 && count == 0) continue;
      std::uint32_t expected = 0;
      for (unsigned i = first; i < first + count; ++i) expected |= std::uint32_t{1} << i;
      EXPECT_EQ(mask_of(first, count), expected) << first << " " << count;
    }
  }
}

TEST(Bits, RunsAreFoundAsTheDefinitionSays) {
  testing::Random random(1);
  for (int i = 0; i < 20000; ++i) {
    // Sparse, dense and in between.
    std::uint32_t mask = static_cast<std::uint32_t>(random.next());
    if (i % 3 == 1) mask |= static_cast<std::uint32_t>(random.next()) | static_cast<std::uint32_t>(random.next());
    if (i % 3 == 2) mask &= static_cast<std::uint32_t>(random.next());
    if (i % 100 == 0) mask = ~std::uint32_t{0};
    EXPECT_EQ(longest_run(mask), longest_run_by_hand(mask)) << std::hex << mask;
    for (unsigned alignment = 1; alignment <= 32; alignment *= 2) {
      const auto count = static_cast<unsigned>(1 + random.below(32));
      EXPECT_EQ(best_run(mask, count, alignment), best_run_by_hand(mask, count, alignment))
          << std::hex << mask << " " << std::dec << count << " " << alignment;
    }
  }
}

TEST(Bits, OnesAreCounted) {
  testing::Random random(2);
  EXPECT_EQ(count_ones(0), 0u);
  EXPECT_EQ(count_ones(~std::uint64_t{0}), 64u);
  for (int i = 0; i < 20000; ++i) {
    std::uint64_t bits = random.next();
    if (i % 3 == 1) bits |= random.next() | random.next();
    if (i % 3 == 2) bits &= random.next() & random.next();
    EXPECT_EQ(count_ones(bits), static_cast<unsigned>(std::popcount(bits))) << std::hex << bits;
  }
}

TEST(Bits, UnitsConvertUpwards) {
  EXPECT_EQ(pages_for(0).count, 0u);
  EXPECT_EQ(pages_for(1).count, 1u);
  EXPECT_EQ(pages_for(kPageSize + 1).count, 2u);
  EXPECT_EQ(units_for(Pages{0}).count, 0u);
  EXPECT_EQ(units_for(Pages{1}).count, 1u);
  EXPECT_EQ(units_for(Pages{kPagesPerUnit + 1}).count, 2u);
  EXPECT_EQ(region_of(kUnitsPerRegion), 1u);
}

}  // namespace
}  // namespace nebula
