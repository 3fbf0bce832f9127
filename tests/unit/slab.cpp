#include "slab/slab.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "budget/account.hpp"
#include "node_heap/node_heap.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

// A slab that belongs to the test alone, in no list.
class OneSlab {
 public:
  explicit OneSlab(SizeClass c) : class_(c) {
    testing::start_heap();
    const Units units = {units_per_slab(c)};
    unit_ = node_heap.spans().take(units, units);
    slab::begin(unit_, c);
  }
  ~OneSlab() { node_heap.spans().give_back(unit_, {units_per_slab(class_)}); }
  OneSlab(const OneSlab&) = delete;
  OneSlab& operator=(const OneSlab&) = delete;

  [[nodiscard]] UnitIndex unit() const { return unit_; }
  [[nodiscard]] Slab& slab() const { return slab::at(unit_); }
  std::vector<void*> take(unsigned wanted, unsigned room) const {
    std::vector<void*> slots(room);
    const unsigned got = slab::take(unit_, slots.data() + room, wanted, room);
    EXPECT_LE(got, room);
    slots.erase(slots.begin(), slots.end() - got);
    return slots;
  }

 private:
  SizeClass class_;
  UnitIndex unit_;
};

slab::Returned put_back(UnitIndex unit, SizeClass c, void* slot) {
  slab::Returned verdict = slab::Returned::kBack;
  const unsigned done = slab::put_back(unit, c, &slot, 1, verdict);
  EXPECT_EQ(done, verdict == slab::Returned::kBack ? 1u : 0u);
  return verdict;
}

TEST(Slab, GivesEverySlotOnceAndTakesItBack) {
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    const OneSlab one(c);
    std::set<void*> seen;
    testing::Random random(i);
    for (;;) {
      const unsigned wanted = static_cast<unsigned>(1 + random.below(100));
      const std::vector<void*> slots = one.take(wanted, wanted + static_cast<unsigned>(random.below(8)));
      if (slots.empty()) break;
      for (void* const slot : slots) {
        const Address offset = reinterpret_cast<Address>(slot) - address_of_unit(one.unit());
        ASSERT_EQ(offset % slot_size(c), 0u);
        ASSERT_LT(offset / slot_size(c), slots_per_slab(c));
        ASSERT_TRUE(seen.insert(slot).second) << "given twice";
      }
      ASSERT_EQ(one.slab().outside(), seen.size());
    }
    ASSERT_EQ(seen.size(), slots_per_slab(c)) << "class " << i;
    EXPECT_EQ(one.slab().available(), 0u);
    for (void* const slot : seen) ASSERT_EQ(put_back(one.unit(), c, slot), slab::Returned::kBack);
    EXPECT_TRUE(one.slab().is_empty());
    EXPECT_EQ(one.slab().available(), slots_per_slab(c));
    // And all of them once more, now from the bitmap, in any mixture.
    std::set<void*> again;
    while (again.size() < seen.size()) {
      const std::vector<void*> slots = one.take(7, 11);
      ASSERT_FALSE(slots.empty());
      for (void* const slot : slots) ASSERT_TRUE(again.insert(slot).second);
    }
    EXPECT_EQ(again, seen);
  }
}

TEST(Slab, LowestAddressIsPoppedFirst) {
  const OneSlab one(size_class(class_index_for(512)));
  const std::vector<void*> slots = one.take(8, 8);
  ASSERT_EQ(slots.size(), 8u);
  for (std::size_t i = 1; i < slots.size(); ++i) EXPECT_LT(slots[i], slots[i - 1]);
}

TEST(Slab, NeighboursOnACacheLineStayTogether) {
  const OneSlab one(size_class(1));
  for (int i = 0; i < 10; ++i) {
    const std::vector<void*> slots = one.take(1, 4);
    EXPECT_EQ(slots.size(), kCacheLine / kGranule);
  }
}

TEST(Slab, ErrorsAreTold) {
  for (unsigned i : {1u, 3u, 40u, 64u, 70u, kClassLast}) {
    const OneSlab one(size_class(i));
    std::vector<void*> slots = one.take(2, 2);
    ASSERT_FALSE(slots.empty());
    char* const slot = static_cast<char*>(slots.back());
    const std::size_t size = slot_size(size_class(i));
    EXPECT_EQ(put_back(one.unit(), size_class(i), slot + 1), slab::Returned::kInterior);
    EXPECT_EQ(put_back(one.unit(), size_class(i), slot + size - 1), slab::Returned::kInterior);
    EXPECT_EQ(put_back(one.unit(), size_class(i), slot + size * one.slab().bump), slab::Returned::kNeverAllocated);
    EXPECT_EQ(put_back(one.unit(), size_class(i), slot), slab::Returned::kBack);
    EXPECT_EQ(put_back(one.unit(), size_class(i), slot), slab::Returned::kDoubleFree);
    // Behind the last slot there may be memory that is none.
    const std::size_t end = slots_per_slab(size_class(i)) * size;
    if (end < units_per_slab(size_class(i)) * kUnitSize) {
      EXPECT_EQ(put_back(one.unit(), size_class(i), reinterpret_cast<char*>(address_of_unit(one.unit())) + end),
                slab::Returned::kNeverAllocated);
    }
    EXPECT_EQ(one.slab().outside(), slots.size() - 1);
  }
}

// Slots come back in any order, several at a time; all of them must be found again, from the lowest on.
TEST(Slab, WhatComesBackInAnyOrderIsFoundAgain) {
  const SizeClass c = size_class(1);
  const OneSlab one(c);
  std::vector<void*> outside = one.take(slots_per_slab(c), slots_per_slab(c));
  testing::Random random(11);
  for (int round = 0; round < 3000; ++round) {
    std::vector<void*> back;
    for (std::uint64_t n = random.below(6); n != 0 && !outside.empty(); --n) {
      std::swap(outside[random.below(outside.size())], outside.back());
      back.push_back(outside.back());
      outside.pop_back();
    }
    if (!back.empty()) {
      slab::Returned verdict = slab::Returned::kBack;
      ASSERT_EQ(slab::put_back(one.unit(), c, back.data(), static_cast<unsigned>(back.size()), verdict), back.size());
      ASSERT_EQ(verdict, slab::Returned::kBack);
    }
    ASSERT_EQ(one.slab().outside(), outside.size());
    for (unsigned word = 0; word < one.slab().first_word; ++word) ASSERT_EQ(one.slab().bitmap[word], 0u) << "round " << round;
    if (random.below(3) == 0) {
      const unsigned wanted = static_cast<unsigned>(random.below(8));
      const unsigned there = one.slab().available();
      const std::vector<void*> again = one.take(wanted, wanted);
      ASSERT_EQ(again.size(), there < wanted ? there : wanted);
      outside.insert(outside.end(), again.begin(), again.end());
    }
  }
}

TEST(Slab, CommitsAsItsMarkMoves) {
  const SizeClass c = size_class(class_index_for(kKiB));
  const OneSlab one(c);
  node_heap.spans().purge(SpanHeap::Purge::kEverything);
  const pages::Range all = {first_page_of(one.unit()), {units_per_slab(c) * std::size_t{kPagesPerUnit}}};
  pages::purge(all);
  for (unsigned slots = 1; slots <= 20; ++slots) {
    ASSERT_EQ(one.take(1, 1).size(), 1u);
    EXPECT_EQ(pages::committed_in(all).count, pages_for(slots * slot_size(c)).count);
  }
}

TEST(Slab, ABudgetThatRefusesThePageGivesNothing) {
  const SizeClass c = size_class(class_index_for(kKiB));  // four to a page, and small enough for the reserve
  const OneSlab one(c);
  pages::purge({first_page_of(one.unit()), {units_per_slab(c) * std::size_t{kPagesPerUnit}}});
  process_account.set_limits(process_account.committed() + 2 * kPageSize, kNoLimit);
  EXPECT_EQ(one.take(4, 4).size(), 4u);
  EXPECT_EQ(one.take(40, 40).size(), 1u) << "ten pages are too many, one is not";
  EXPECT_EQ(one.take(3, 3).size(), 3u);
  EXPECT_EQ(one.take(1, 1).size(), 0u);
  process_account.set_limits(kNoLimit, kNoLimit);
  EXPECT_EQ(one.slab().outside(), 8u);
}

}  // namespace
}  // namespace nebula
