#include "spans/span_heap.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "budget/account.hpp"
#include "node_heap/node_heap.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

SpanHeap& spans() {
  testing::start_heap();
  return node_heap.spans();
}

struct Span {
  UnitIndex first;
  std::size_t count;
};

void commit_and_dirty(UnitIndex first, std::size_t units) {
  ASSERT_TRUE(pages::commit({first_page_of(first), {units * kPagesPerUnit}}));
  for (std::size_t page = 0; page < units * kPagesPerUnit; ++page)
    *reinterpret_cast<char*>(address_of_page(first_page_of(first) + page)) = 'd';
}

TEST(SpanHeap, AgainstAModel) {
  SpanHeap& heap = spans();
  testing::Random random(7);
  std::map<UnitIndex, std::size_t> taken;  // first to count
  std::vector<UnitIndex> order;
  const auto overlaps = [&](UnitIndex first, std::size_t count) {
    auto next = taken.lower_bound(first);
    if (next != taken.end() && next->first < first + count) return true;
    return next != taken.begin() && (--next)->first + next->second > first;
  };
  for (int i = 0; i < 20'000; ++i) {
    if (order.size() < 200 && random.below(100) < 55) {
      const std::uint64_t kind = random.below(10);
      const std::size_t count = 1 + random.below(kind == 0 ? 100 : kind < 4 ? 32 : 8);
      const std::size_t alignment = std::size_t{1} << (random.below(8) == 0 ? random.below(7) : 0);
      const auto user = static_cast<std::uint8_t>(random.below(4));
      const UnitIndex first = heap.take({count}, {alignment}, SpanHeap::From::kAny, user);
      ASSERT_NE(first, kNoUnit);
      ASSERT_EQ(first % alignment, 0u);
      ASSERT_FALSE(overlaps(first, count)) << first << "+" << count;
      taken[first] = count;
      order.push_back(first);
    } else if (!order.empty()) {
      const std::size_t which = random.below(order.size());
      const UnitIndex first = order[which];
      if (random.below(5) == 0) {
        const std::size_t from = taken[first];
        const std::size_t to = from + 1 + random.below(40);
        taken.erase(first);
        const bool was_free = !overlaps(first, to);
        const bool extended = heap.extend(first, {from}, {to});
        EXPECT_LE(extended, was_free);
        taken[first] = extended ? to : from;
        continue;
      }
      heap.give_back(first, {taken[first]});
      taken.erase(first);
      order[which] = order.back();
      order.pop_back();
    }
  }
  for (const auto& [first, count] : taken) heap.give_back(first, {count});
  EXPECT_EQ(testing::inconsistency(), "");

  // All neighbours have coalesced: what is mapped can be had as one span, without growth.
  const SpanHeap::Facts before = heap.facts();
  const std::size_t all = std::size_t{before.regions - 1} * kUnitsPerRegion;
  const UnitIndex whole = heap.take({all}, {1});
  EXPECT_EQ(whole, kUnitsPerRegion);
  EXPECT_EQ(heap.facts().growths, before.growths);
  heap.give_back(whole, {all});
}

// An object of 24 units must not leave a quarter of each region: four lie in three regions, and in the holes of two lie two again.
TEST(SpanHeap, SpansCrossTheSeamsOfRegions) {
  constexpr std::size_t kUnits = 24;
  constexpr std::size_t kSpans = 64;
  SpanHeap& heap = spans();
  const UnitIndex room = heap.take({kUnitsPerRegion * (kSpans * 3 / 4 + 2)}, {1});  // so much at least is mapped in one piece
  heap.give_back(room, {kUnitsPerRegion * (kSpans * 3 / 4 + 2)});
  const SpanHeap::Facts before = heap.facts();
  std::vector<UnitIndex> held;
  const auto take_one = [&] {
    const UnitIndex first = heap.take({kUnits}, {1});
    ASSERT_NE(first, kNoUnit);
    for (const UnitIndex other : held) ASSERT_TRUE(first + kUnits <= other || other + kUnits <= first);
    held.push_back(first);
  };
  for (std::size_t i = 0; i < kSpans; ++i) take_one();
  EXPECT_EQ(heap.facts().growths, before.growths);
  std::size_t crossing = 0;
  for (const UnitIndex first : held) crossing += region_of(first) != region_of(static_cast<UnitIndex>(first + kUnits - 1)) ? 1 : 0;
  EXPECT_GE(crossing, kSpans / 3);

  for (std::size_t i = 0; i < kSpans / 2; ++i) {
    heap.give_back(held[i], {kUnits});
    held[i] = held.back();
    held.pop_back();
  }
  for (std::size_t i = 0; i < kSpans / 2; ++i) take_one();
  EXPECT_EQ(heap.facts().growths, before.growths);
  // With an alignment a span begins where that says, and so may not.
  const UnitIndex aligned = heap.take({kUnits}, {32});
  EXPECT_EQ(aligned % 32, 0u);
  heap.give_back(aligned, {kUnits});
  for (const UnitIndex first : held) heap.give_back(first, {kUnits});
  EXPECT_EQ(testing::inconsistency(), "");
}

// Each in regions of its own, with what it freed before what another did, but no clean unit while there are dirty ones.
TEST(SpanHeap, UsersHaveRegionsOfTheirOwnAsFarAsThereAreAny) {
  SpanHeap& heap = spans();
  using From = SpanHeap::From;
  const Units many = {4 * kUnitsPerRegion};
  heap.give_back(heap.take(many, {1}), many);
  heap.purge(SpanHeap::Purge::kEverything);

  std::vector<UnitIndex> of[3];
  for (int i = 0; i < 40; ++i)
    for (const std::uint8_t user : {std::uint8_t{1}, std::uint8_t{2}}) of[user].push_back(heap.take({1}, {1}, From::kAny, user));
  for (const UnitIndex one : of[1])
    for (const UnitIndex other : of[2]) ASSERT_NE(region_of(one), region_of(other));

  for (const std::uint8_t user : {std::uint8_t{1}, std::uint8_t{2}}) {
    commit_and_dirty(of[user][0], 1);
    heap.give_back(of[user][0], {1});
  }
  // The other's was dirtied last.
  EXPECT_EQ(heap.take({1}, {1}, From::kDirty, 1), of[1][0]);
  EXPECT_EQ(heap.take({1}, {1}, From::kDirty, 1), of[2][0]) << "before clean ones";
  EXPECT_EQ(heap.take({1}, {1}, From::kDirty, 1), kNoUnit);
  for (const auto& units : of)
    for (const UnitIndex unit : units) heap.give_back(unit, {1});
  // Wholly free, it may be anybody's.
  const std::uint64_t mapped = heap.facts().mapped_regions;
  std::vector<UnitIndex> all;
  for (int i = 0; i < 80; ++i) all.push_back(heap.take({1}, {1}, From::kAny, 3));
  EXPECT_EQ(heap.facts().mapped_regions, mapped);
  for (const UnitIndex unit : all) heap.give_back(unit, {1});
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(SpanHeap, LargeAlignmentsAreKept) {
  SpanHeap& heap = spans();
  std::vector<Span> held;
  for (std::size_t alignment = 1; alignment <= 1024; alignment *= 2) {
    for (const std::size_t count : {1u, 3u, 32u, 33u, 70u}) {
      const UnitIndex first = heap.take({count}, {alignment});
      ASSERT_NE(first, kNoUnit);
      EXPECT_EQ(first % alignment, 0u) << count << " at " << alignment;
      held.push_back({first, count});
    }
  }
  for (const Span& span : held) heap.give_back(span.first, {span.count});
}

TEST(SpanHeap, MoreThanThereCanBeIsRefused) {
  EXPECT_EQ(spans().take({std::size_t{1} << 40}, {1}), kNoUnit);
  EXPECT_EQ(spans().take({1}, {std::size_t{1} << 40}), kNoUnit);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(SpanHeap, PurgeGivesPagesBackAndTheyReadAsZero) {
  SpanHeap& heap = spans();
  const UnitIndex keep = heap.take({3}, {1});
  const UnitIndex first = heap.take({100}, {1});
  commit_and_dirty(keep, 3);
  commit_and_dirty(first, 100);
  const std::uint64_t before = process_account.committed();
  heap.give_back(first, {100});
  EXPECT_EQ(process_account.committed(), before) << "freeing alone gives nothing back";
  EXPECT_GE(heap.facts().dirty_bytes, 100 * kUnitSize);
  EXPECT_GE(heap.purge(SpanHeap::Purge::kEverything), 100 * kUnitSize);
  EXPECT_LE(process_account.committed(), before - 100 * kUnitSize);
  EXPECT_EQ(heap.facts().dirty_bytes, 0u);
  EXPECT_EQ(pages::committed_in({first_page_of(keep), {3 * kPagesPerUnit}}).count, 3u * kPagesPerUnit);
  for (std::size_t page = 0; page < 100 * kPagesPerUnit; ++page)
    ASSERT_EQ(*reinterpret_cast<char*>(address_of_page(first_page_of(first) + page)), 0);
  EXPECT_EQ(*reinterpret_cast<char*>(address_of_unit(keep)), 'd');
  heap.give_back(keep, {3});
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(SpanHeap, ExtendTakesOnlyWhatIsFree) {
  SpanHeap& heap = spans();
  const UnitIndex whole = heap.take({96}, {32});
  ASSERT_NE(whole, kNoUnit);
  heap.give_back(whole + 40, {50});
  EXPECT_FALSE(heap.extend(whole, {40}, {91}));
  EXPECT_TRUE(heap.extend(whole, {40}, {90}));
  EXPECT_FALSE(heap.extend(whole, {90}, {91})) << "held by the same caller, but not free";
  heap.give_back(whole, {96});
  EXPECT_EQ(testing::inconsistency(), "");
}

}  // namespace
}  // namespace nebula
