#include "spans/span_heap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "node_heap/node_heap.hpp"
#include "spans/frontier.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

constexpr unsigned kParts = 4;

SpanHeap& spans() {
  testing::start_heap();
  node_heap.spans().open_parts(kParts);
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

// So many wholly free regions side by side, and no dirty page anywhere.
void make_clean_regions(SpanHeap& heap, std::size_t count) {
  const Units many = {count * kUnitsPerRegion};
  heap.give_back(heap.take(many, {1}), many);
  heap.purge(SpanHeap::Purge::kEverything);
}

// Of a heap in which no span is left: all neighbours have coalesced, and every region can be had again, as one span as far as they lie side
// by side.
void expect_all_is_one(SpanHeap& heap) {
  const Units region = {kUnitsPerRegion};
  const SpanHeap::Facts before = heap.facts();
  std::vector<UnitIndex> regions;
  for (std::uint64_t i = 1; i < before.mapped_regions; ++i) regions.push_back(heap.take(region, region));  // the first lacks a unit
  for (const UnitIndex one : regions) heap.give_back(one, region);
  std::ranges::sort(regions);
  std::size_t longest = 0;
  for (std::size_t i = 0, run = 0; i < regions.size(); ++i) {
    run = i != 0 && regions[i] == regions[i - 1] + kUnitsPerRegion ? run + 1 : 1;
    longest = std::max(longest, run);
  }
  const UnitIndex whole = heap.take({longest * kUnitsPerRegion}, {1});
  EXPECT_EQ(heap.facts().growths, before.growths);
  heap.give_back(whole, {longest * kUnitsPerRegion});
}

// Two regions share a line of the class map. In a small heap no two parts do, whoever comes when: it rather grows. The first test: the heap is small.
TEST(SpanHeap, PartsShareNoLineOfTheClassMap) {
  SpanHeap& heap = spans();
  heap.purge(SpanHeap::Purge::kEverything);
  ASSERT_LE(heap.facts().mapped_regions, 9u);
  std::vector<UnitIndex> units;
  std::map<std::size_t, std::set<unsigned>> parts;  // by line
  testing::Random random(20);
  for (int i = 0; i < 300; ++i) {
    const auto part = static_cast<unsigned>(random.below(3));
    units.push_back(heap.take({1}, {1}, SpanHeap::From::kAny, part));
    EXPECT_EQ(part_of(units.back()), part);
    parts[units.back() / kCacheLine].insert(part);
  }
  for (const auto& [line, of] : parts) EXPECT_EQ(of.size(), 1u) << "line " << line;
  for (const UnitIndex unit : units) heap.give_back(unit, {1});
  EXPECT_EQ(testing::inconsistency(), "");
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
      const auto part = static_cast<unsigned>(random.below(kParts));
      const UnitIndex first = heap.take({count}, {alignment}, SpanHeap::From::kAny, part);
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

  expect_all_is_one(heap);
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
TEST(SpanHeap, PartsHaveRegionsOfTheirOwnAsFarAsThereAreAny) {
  SpanHeap& heap = spans();
  using From = SpanHeap::From;
  make_clean_regions(heap, 8);

  std::vector<UnitIndex> of[3];
  for (int i = 0; i < 40; ++i)
    for (const unsigned part : {0u, 1u, 2u}) of[part].push_back(heap.take({1}, {1}, From::kAny, part));
  for (const unsigned one : {0u, 1u, 2u})
    for (const unsigned other : {0u, 1u, 2u})
      for (const UnitIndex mine : of[one])
        for (const UnitIndex others : of[other]) ASSERT_TRUE(one == other || region_of(mine) != region_of(others));

  for (const unsigned part : {0u, 1u, 2u}) {
    commit_and_dirty(of[part][0], 1);
    heap.give_back(of[part][0], {1});
  }
  // The others' were dirtied last, or before.
  testing::await_window_beside();
  EXPECT_EQ(heap.take({1}, {1}, From::kDirty, 1), of[1][0]);
  EXPECT_EQ(heap.take({1}, {1}, From::kDirty, 1), of[0][0]) << "before clean ones";
  EXPECT_EQ(heap.take({1}, {1}, From::kDirty, 1), of[2][0]) << "before clean ones";
  EXPECT_EQ(heap.take({1}, {1}, From::kDirty, 1), kNoUnit);
  for (const auto& units : of)
    for (const UnitIndex unit : units) heap.give_back(unit, {1});
  // Wholly free, it may be anybody's.
  const std::uint64_t mapped = heap.facts().mapped_regions;
  std::vector<UnitIndex> all;
  for (int i = 0; i < 120; ++i) all.push_back(heap.take({1}, {1}, From::kAny, 3));
  EXPECT_EQ(heap.facts().mapped_regions, mapped);
  for (const UnitIndex unit : all) heap.give_back(unit, {1});
  EXPECT_EQ(testing::inconsistency(), "");
}

// Where there is little left, what others have comes before growth.
TEST(SpanHeap, NearALimitNothingGrowsWhileThereIsRoom) {
  SpanHeap& heap = spans();
  make_clean_regions(heap, 4);
  const std::uint64_t mapped = heap.facts().mapped_regions;
  std::vector<UnitIndex> units;
  // So that each region has its records.
  for (std::uint64_t i = 1; i < mapped; ++i) units.push_back(heap.take({kUnitsPerRegion}, {kUnitsPerRegion}));
  heap.give_back(heap.take({1}, {1}), {1});  // the first, which lacks a unit
  for (const UnitIndex region : units) heap.give_back(region, {kUnitsPerRegion});
  units.clear();
  const auto take = [&](unsigned part) { units.push_back(heap.take({1}, {1}, SpanHeap::From::kAny, part)); };
  take(1);
  process_account.set_limits(process_account.committed(), kNoLimit);
  for (std::uint64_t i = 2; i < mapped * kUnitsPerRegion; ++i) take(2);
  EXPECT_EQ(heap.facts().mapped_regions, mapped);
  EXPECT_EQ(std::ranges::count(units, kNoUnit), 0);
  process_account.set_limits(kNoLimit, kNoLimit);
  for (const UnitIndex unit : units) heap.give_back(unit, {1});
  EXPECT_EQ(testing::inconsistency(), "");
}

// A region that comes back wholly free is there for spans of more than a region; a dirty one goes to who asks with its dirty pages.
TEST(SpanHeap, WhollyFreeRegionsGoFromPartToPart) {
  SpanHeap& heap = spans();
  using From = SpanHeap::From;
  const Units many = {8 * kUnitsPerRegion};
  make_clean_regions(heap, 24);  // no small heap any more
  const std::uint64_t growths = heap.facts().growths;

  std::vector<UnitIndex> regions;
  for (unsigned i = 0; i < 8; ++i) regions.push_back(heap.take({kUnitsPerRegion}, {kUnitsPerRegion}, From::kAny, 1 + i % 3));
  for (const UnitIndex region : regions) heap.give_back(region, {kUnitsPerRegion});
  for (const UnitIndex region : regions) EXPECT_EQ(part_of(region), 0u);
  const UnitIndex whole = heap.take(many, {1}, From::kAny, 2);
  EXPECT_EQ(heap.facts().growths, growths);
  heap.give_back(whole, many);

  const UnitIndex dirty = heap.take({3}, {1}, From::kAny, 1);
  commit_and_dirty(dirty, 3);
  heap.give_back(dirty, {3});
  EXPECT_EQ(heap.facts().dirty_bytes, 3 * kUnitSize);
  const UnitIndex again = heap.take({2}, {1}, From::kDirty, 2);
  EXPECT_EQ(region_of(again), region_of(dirty));
  const UnitIndex beside = heap.take({4}, {1}, From::kAny, 2);
  EXPECT_EQ(region_of(beside), region_of(dirty)) << "the region came along";
  heap.give_back(again, {2});
  heap.give_back(beside, {4});
  EXPECT_GE(heap.purge(SpanHeap::Purge::kEverything), 3 * kUnitSize);
  EXPECT_EQ(heap.facts().dirty_bytes, 0u);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(SpanHeap, ASpanOfAPartGrowsIntoWhollyFreeRegions) {
  SpanHeap& heap = spans();
  const Units region = {kUnitsPerRegion};
  make_clean_regions(heap, 4);
  std::vector<UnitIndex> held;
  const auto neighbour = [&] {
    for (const UnitIndex one : held)
      for (const UnitIndex other : held)
        if (one + kUnitsPerRegion == other) return one;
    return kNoUnit;
  };
  while (neighbour() == kNoUnit) held.push_back(heap.take(region, region, SpanHeap::From::kAny, 1));
  const UnitIndex first = neighbour();
  const UnitIndex behind = first + kUnitsPerRegion;
  for (const UnitIndex other : held)
    if (other != first) heap.give_back(other, region);

  std::vector<UnitIndex> of_first_part;
  do of_first_part.push_back(heap.take(region, region));
  while (of_first_part.back() != behind);
  EXPECT_FALSE(heap.extend(first, region, {kUnitsPerRegion + 5})) << "it is in use";
  heap.give_back(behind + 5, {kUnitsPerRegion - 5});
  EXPECT_FALSE(heap.extend(first, region, {kUnitsPerRegion + 5})) << "in part";
  heap.give_back(behind, {5});
  EXPECT_TRUE(heap.extend(first, region, {kUnitsPerRegion + 5}));
  const std::size_t to_the_end = std::size_t{heap.facts().regions} * kUnitsPerRegion - first;
  EXPECT_FALSE(heap.extend(first, {kUnitsPerRegion + 5}, {to_the_end + 1})) << "not mapped";
  heap.give_back(first, {kUnitsPerRegion + 5});
  of_first_part.pop_back();
  for (const UnitIndex one : of_first_part) heap.give_back(one, region);
  EXPECT_EQ(testing::inconsistency(), "");
}

// Who claims a unit may find that there is no span any more, and ends the claim where it was begun: so the region stays in its part.
TEST(SpanHeap, AClaimedRegionStaysInItsPart) {
  SpanHeap& heap = spans();
  const Units region = {kUnitsPerRegion};
  heap.purge(SpanHeap::Purge::kEverything);
  for (const unsigned of : {0u, 1u}) {
    const UnitIndex gone = heap.take(region, region, SpanHeap::From::kAny, of);
    std::vector<UnitIndex> rest;
    std::size_t whole = 0;
    for (RegionIndex index = 0; index < frontier.regions(); ++index) whole += region_at(index).free_units == ~std::uint32_t{0} ? 1 : 0;
    for (; whole != 0; --whole) rest.push_back(heap.take(region, region));
    heap.give_back(gone, region);
    ASSERT_TRUE(heap.try_claim(gone));
    const UnitIndex other = heap.take(region, region, SpanHeap::From::kAny, 1);
    EXPECT_EQ(region_of(other), region_of(gone)) << "the only one that is wholly free";
    EXPECT_EQ(part_of(other), 0u) << "it does not go while it is claimed";
    for (const UnitIndex first : rest) heap.give_back(first, region);
    heap.release_claim(gone);
    heap.lock_quiet();  // waits for claims
    heap.unlock();
    heap.give_back(other, region);

    const UnitIndex grows = heap.take(region, region, SpanHeap::From::kAny, 1);
    const UnitIndex behind = grows + kUnitsPerRegion;
    if (heap.try_claim(behind)) {
      const bool has_grown = heap.extend(grows, region, {kUnitsPerRegion + 1});
      heap.release_claim(behind);
      heap.lock_quiet();
      heap.unlock();
      heap.give_back(grows, {kUnitsPerRegion + (has_grown ? 1u : 0u)});
    } else {
      heap.give_back(grows, region);
    }
  }
  expect_all_is_one(heap);
  EXPECT_EQ(testing::inconsistency(), "");
}

// Where others have few dirty units between their own, a part takes these for a while, then clean ones of its own, until memory is short.
TEST(SpanHeap, UnitsOfOthersRegionsAreTakenSeldom) {
  SpanHeap& heap = spans();
  constexpr std::size_t kDirty = 8;
  constexpr std::size_t kOwn = 4;
  constexpr std::size_t kFull = 64;
  const Units region = {kUnitsPerRegion};
  const Units rest = {kUnitsPerRegion - 1};
  make_clean_regions(heap, kDirty + kOwn + kFull);
  std::vector<Span> held;
  const auto take_regions = [&](std::size_t count, unsigned part, bool commits) {
    for (std::size_t i = 0; i < count; ++i) {
      held.push_back({heap.take(region, region, SpanHeap::From::kAny, part), kUnitsPerRegion});
      if (commits) { ASSERT_TRUE(pages::commit(pages::pages_of(held.back().first, region))); }
    }
  };
  const auto give_back_all_but_first = [&](std::size_t from, std::size_t count) {
    for (std::size_t i = from; i < from + count; ++i) {
      heap.give_back(held[i].first + 1, rest);
      held[i].count = 1;
    }
  };
  take_regions(kOwn, 1, false);
  take_regions(kFull, 0, true);
  take_regions(kDirty, 0, true);
  give_back_all_but_first(0, kOwn);
  give_back_all_but_first(kOwn + kFull, kDirty);

  const auto taken_beside = [&](unsigned count) {
    unsigned beside = 0;
    for (unsigned i = 0; i < count; ++i) {
      const UnitIndex unit = heap.take({1}, {1}, SpanHeap::From::kAny, 1);
      held.push_back({unit, 1});
      if (part_of(unit) == 0) ++beside;
      else EXPECT_EQ(part_of(unit), 1u);
    }
    return beside;
  };
  testing::await_window_beside();
  const std::uint64_t begun = testing::window_beside();
  const unsigned beside = taken_beside(100);
  const std::uint64_t windows = testing::window_beside() - begun + 1;
  EXPECT_GE(beside, 64u);
  if (windows == 1) {
    EXPECT_EQ(beside, 64u);
  }
  process_account.set_limits(process_account.committed() + process_account.committed() / 16, kNoLimit);
  EXPECT_EQ(taken_beside(20), 20u) << "what is paid for comes first";
  process_account.set_limits(kNoLimit, kNoLimit);

  for (const Span& span : held) heap.give_back(span.first, {span.count});
  expect_all_is_one(heap);
  EXPECT_EQ(testing::inconsistency(), "");
}

// Claims that end elsewhere are nothing that a refused request could wait for.
TEST(SpanHeap, ARefusalComesWhileOthersResize) {
  SpanHeap& heap = spans();
  const UnitIndex resized = heap.take({2}, {1});
  std::atomic<bool> go_on{true};
  std::atomic<std::uint64_t> claims{0};
  std::thread other([&] {
    while (go_on) {
      heap.claim(resized);
      heap.release_claim(resized);
      ++claims;
    }
  });
  while (claims == 0) std::this_thread::yield();
  // More than there is address space for, but no more than a heap may have.
  const std::size_t too_many = std::size_t{pages::region_capacity() - 1} * kUnitsPerRegion;
  std::vector<std::uint64_t> meanwhile;
  for (int i = 0; i < 1'000; ++i) {
    for (const unsigned part : {0u, 1u}) {
      const std::uint64_t before = claims;
      const UnitIndex none = heap.take({too_many}, {1}, SpanHeap::From::kAny, part);
      EXPECT_EQ(none, kNoUnit);
      if (none != kNoUnit) heap.give_back(none, {too_many});
      meanwhile.push_back(claims - before);
    }
  }
  std::ranges::sort(meanwhile);
  EXPECT_LT(meanwhile[1'975], 2'000u) << "claims that ended during a request, but for one request in eighty";
  go_on = false;
  other.join();
  heap.give_back(resized, {2});
  EXPECT_EQ(testing::inconsistency(), "");
}

// Threads of all parts, who give back each other's spans, too: a unit is nobody's or one's.
TEST(SpanHeap, PartsAtOnce) {
  SpanHeap& heap = spans();
  constexpr int kSteps = 4'000;
  std::vector<std::atomic<int>> holder(1 << 16);
  std::vector<std::atomic<std::uint64_t>> mailbox(64);  // count << 32 | first, 0: empty
  std::atomic<int> faults{0};
  const auto mark = [&](UnitIndex first, std::size_t count, int from, int to) {
    for (std::size_t unit = first; unit < first + count; ++unit)
      if (unit >= holder.size() || holder[unit].exchange(to) != from) ++faults;
  };
  const auto work = [&](unsigned part) {
    testing::Random random(part + 1);
    const int me = static_cast<int>(part) + 1;
    for (int i = 0; i < kSteps; ++i) {
      const std::uint64_t kind = random.below(16);
      std::size_t count = 1 + random.below(kind == 0 ? 80 : 20);
      const UnitIndex first = heap.take({count}, {1}, SpanHeap::From::kAny, part);
      if (first == kNoUnit) {
        ++faults;
        break;
      }
      mark(first, count, 0, me);
      if (kind < 4 && !pages::commit({first_page_of(first), {count}})) ++faults;
      if (kind % 4 == 0) {
        heap.claim(first);
        const std::size_t more = 1 + random.below(40);
        if (heap.extend(first, {count}, {count + more})) {
          mark(static_cast<UnitIndex>(first + count), more, 0, me);
          count += more;
        }
        heap.release_claim(first);
      } else if (kind == 1) {
        // Of whoever has it, or of nobody.
        const auto unit = static_cast<UnitIndex>(kUnitsPerRegion + random.below(200));
        if (heap.try_claim(unit)) heap.release_claim(unit);
      }
      if (i % 512 == 0) heap.purge(i % 1024 == 0 ? SpanHeap::Purge::kEverything : SpanHeap::Purge::kIdle);
      mark(first, count, me, -1);
      const std::uint64_t other = mailbox[random.below(mailbox.size())].exchange(std::uint64_t{count} << 32 | first);
      if (other == 0) continue;
      mark(static_cast<UnitIndex>(other), other >> 32, -1, 0);
      heap.give_back(static_cast<UnitIndex>(other), {other >> 32});
    }
  };
  std::vector<std::thread> threads;
  for (unsigned part = 0; part < kParts; ++part) threads.emplace_back(work, part);
  for (std::thread& thread : threads) thread.join();
  for (const auto& left : mailbox)
    if (const std::uint64_t span = left.load(); span != 0) heap.give_back(static_cast<UnitIndex>(span), {span >> 32});
  EXPECT_EQ(faults, 0);
  EXPECT_EQ(testing::inconsistency(), "");
  expect_all_is_one(heap);
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
