#include "slab/slab.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
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
    std::vector<void*> slots = one.take(i == kClassLast ? 1 : 2, 2);  // the last has two
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

// Runs of neighbours, lowest or highest first, with strays and with an error somewhere: as many are put back as come before the error,
// which is told exactly, and what is taken is the lowest of what is there.
TEST(Slab, RunsComeBackAsOneByOne) {
  enum Error { kNone, kDouble, kInside, kForeign, kNever, kWholeRun, kShiftedRun, kAcrossStart, kAcrossEnd };
  for (const unsigned i : {1u, 4u, 9u, 33u, 64u, 70u, 80u}) {
    const SizeClass c = size_class(i);
    const OneSlab one(c);
    const std::size_t size = slot_size(c);
    const auto start = reinterpret_cast<char*>(address_of_unit(one.unit()));
    const auto slot_at_index = [&](std::size_t index) -> void* { return start + index * size; };
    std::set<void*> outside;
    std::vector<void*> taken = one.take(slots_per_slab(c) - 3, slots_per_slab(c));
    outside.insert(taken.begin(), taken.end());
    testing::Random random(100 + i);
    int across[2] = {};
    for (int round = 0; round < 2000; ++round) {
      std::vector<void*> back;
      std::set<void*> left = outside;
      for (std::uint64_t runs = 1 + random.below(4); runs != 0; --runs) {
        const std::size_t from = random.below(slots_per_slab(c));
        const std::size_t length = 1 + random.below(random.below(2) == 0 ? 3 : 200);
        const bool rises = random.below(2) == 0;
        for (std::size_t k = 0; k < length; ++k) {
          if (!rises && k > from) break;
          void* const slot = slot_at_index(rises ? from + k : from - k);
          if (left.erase(slot) != 0) back.push_back(slot);
        }
      }
      if (back.empty()) continue;
      const auto error = static_cast<Error>(random.below(14));
      std::size_t good = back.size();
      slab::Returned in_run = slab::Returned::kBack;
      if (error >= kWholeRun && random.below(2) == 0) {
        back.clear();
        left = outside;
        good = 0;
      }
      if (error == kWholeRun) {  // of which some may be in the slab already
        const std::size_t from = random.below(one.slab().bump);
        const bool rises = random.below(2) == 0;
        for (std::size_t k = 0; k < 64; ++k) {
          if (rises ? from + k >= one.slab().capacity : k > from) break;
          const std::size_t index = rises ? from + k : from - k;
          back.push_back(slot_at_index(index));
          if (in_run != slab::Returned::kBack) continue;
          if (left.erase(back.back()) != 0) good = back.size();
          else in_run = index < one.slab().bump ? slab::Returned::kDoubleFree : slab::Returned::kNeverAllocated;
        }
      }
      if (error == kShiftedRun) {
        for (std::size_t index = 0; index < 40 && index < one.slab().bump; ++index)
          back.push_back(static_cast<char*>(slot_at_index(index)) + 8);
        in_run = slab::Returned::kInterior;
      }
      if (error >= kDouble && error <= kNever) {
        good = random.below(back.size());
        if (good == 0) good = 1;  // the first lies in the slab
        if (good == back.size()) continue;
        back[good] = error == kDouble    ? back[random.below(good)]
                     : error == kInside  ? static_cast<char*>(back[good]) + 1
                     : error == kForeign ? static_cast<void*>(start + units_per_slab(c) * kUnitSize)
                                         : slot_at_index(one.slab().bump);
        if (error == kNever && one.slab().bump == one.slab().capacity) continue;
      }
      // The run goes on beyond the slab: into the one before, or where the memory that is no slot begins, else into the next one. Of other
      // slabs' nothing is said. In pieces or not, so that each of them ends there.
      if ((error == kAcrossStart || error == kAcrossEnd) && one.slab().bump == one.slab().capacity) {
        const bool falls = error == kAcrossStart;
        const std::size_t here = random.below(2) == 0 ? 8 + 8 * random.below(3) : 1 + random.below(24);
        if (here > one.slab().capacity) continue;
        const std::size_t from = falls ? here - 1 : one.slab().capacity - here;
        bool all = true;
        for (std::size_t k = 0; k < here; ++k) all = all && left.count(slot_at_index(falls ? from - k : from + k)) != 0;
        if (!all) continue;
        const std::size_t gap = random.below(3);  // before what lies beyond
        for (std::size_t k = 0; k < here + 24; ++k) {
          const std::size_t step = k < here ? k : k + gap;
          back.push_back(start + (falls ? from - step : from + step) * size);
        }
        good = back.size() - 24;
        const bool has_tail = one.slab().capacity * size != units_per_slab(c) * kUnitSize;
        if (!falls && has_tail && gap == 0) in_run = slab::Returned::kNeverAllocated;
        ++across[falls ? 0 : 1];
      }
      if (back.empty()) continue;
      slab::Returned verdict = slab::Returned::kBack;
      ASSERT_EQ(slab::put_back(one.unit(), c, back.data(), static_cast<unsigned>(back.size()), verdict), good) << "class " << i << " round " << round;
      const slab::Returned expected = error == kDouble   ? slab::Returned::kDoubleFree
                                      : error == kInside ? slab::Returned::kInterior
                                      : error == kNever  ? slab::Returned::kNeverAllocated
                                                         : in_run;
      ASSERT_EQ(verdict, expected);
      for (std::size_t k = 0; k < good; ++k) outside.erase(back[k]);
      ASSERT_EQ(one.slab().outside(), outside.size());
      for (unsigned word = 0; word < one.slab().first_word; ++word) ASSERT_EQ(one.slab().bitmap[word], 0u);
      // What is taken are the lowest that are there, the lowest last.
      const unsigned wanted = static_cast<unsigned>(random.below(300));
      const unsigned back_before = one.slab().free;
      const std::vector<void*> again = one.take(wanted, wanted);
      for (std::size_t k = 1; k < again.size(); ++k) ASSERT_LT(again[k], again[k - 1]);
      if (back_before >= wanted && wanted != 0) {
        std::size_t index = 0;
        for (std::size_t k = again.size(); k-- != 0; ++index) {
          while (outside.count(slot_at_index(index)) != 0) ++index;
          ASSERT_EQ(again[k], slot_at_index(index));
        }
      }
      for (void* const slot : again) ASSERT_TRUE(outside.insert(slot).second);
    }
    for (const int times : across) EXPECT_GT(times, 10) << "class " << i;
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

// Gives back the pages that hold nothing, as a purge does; which.
std::uint64_t punch_holes(const OneSlab& one) {
  const std::uint64_t pages = slab::free_pages(one.unit());
  for (unsigned page = 0; page < 64; ++page)
    if ((pages >> page & 1) != 0) {
      EXPECT_TRUE(pages::purge({first_page_of(one.unit()) + page, {1}}));
    }
  if (pages != 0) one.slab().has_holes = true;
  return pages;
}

// As free_pages() should find them: slot by slot.
std::uint64_t pages_without(const std::set<void*>& outside, const OneSlab& one, std::size_t size) {
  std::uint64_t pages = 0;
  for (unsigned page = 0; page < 64; ++page)
    if (page < units_per_slab(one.slab().size_class) * kPagesPerUnit &&
        pages::committed_in({first_page_of(one.unit()) + page, {1}}).count != 0)
      pages |= std::uint64_t{1} << page;
  for (void* const slot : outside) {
    const Address first = reinterpret_cast<Address>(slot) - address_of_unit(one.unit());
    for (std::size_t page = first / kPageSize; page <= (first + size - 1) / kPageSize; ++page) pages &= ~(std::uint64_t{1} << page);
  }
  return pages;
}

// Slots come and go, and pages that hold nothing are given back in between: nobody loses what he wrote, no slot has two owners, and each
// lies on committed pages.
TEST(Slab, HolesHoldNothingAndAreFilledAgain) {
  for (const unsigned i : {1u, 2u, 5u, 20u, 33u, 64u, 66u, 70u, 75u, 80u, kClassLast}) {
    const SizeClass c = size_class(i);
    const std::size_t size = slot_size(c);
    const OneSlab one(c);
    testing::Random random(i);
    std::set<void*> outside;
    unsigned holes = 0;
    for (unsigned round = 0; round < 400; ++round) {
      const std::uint64_t of_ten = round / 100 % 2 == 0 ? 7 : 3;  // grows, then shrinks
      if (random.below(10) < of_ten) {
        const auto wanted = static_cast<unsigned>(1 + random.below(slots_per_slab(c) / 8 + 2));
        const unsigned there = one.slab().available();
        const std::vector<void*> slots = one.take(wanted, wanted + 3);
        ASSERT_GE(slots.size(), std::min(wanted, there)) << "class " << i << ", round " << round;
        for (void* const slot : slots) {
          ASSERT_TRUE(outside.insert(slot).second) << "given twice";
          *static_cast<void**>(slot) = slot;
        }
      } else {
        // Neighbours mostly, so that pages become free.
        std::uint64_t count = random.below(slots_per_slab(c) / 2 + 2);
        auto next = outside.empty() ? outside.end() : outside.lower_bound(reinterpret_cast<void*>(
            address_of_unit(one.unit()) + random.below(units_per_slab(c) * kUnitSize)));
        for (; count != 0 && next != outside.end(); --count) {
          ASSERT_EQ(*static_cast<void**>(*next), *next) << "contents lost";
          ASSERT_EQ(put_back(one.unit(), c, *next), slab::Returned::kBack);
          next = outside.erase(next);
        }
      }
      if (random.below(4) == 0) {
        const std::uint64_t expected = pages_without(outside, one, size);
        const std::uint64_t before = process_account.committed();
        const std::uint64_t found = punch_holes(one);
        ASSERT_EQ(found, expected) << "class " << i << ", round " << round;
        const auto pages = static_cast<unsigned>(std::popcount(found));
        ASSERT_EQ(process_account.committed(), before - pages * kPageSize);
        holes += pages;
      }
      ASSERT_EQ(one.slab().outside(), outside.size());
      const pages::Range used = slab::used_range(one.unit());
      if (!one.slab().has_holes) {
        ASSERT_EQ(pages::committed_in(used).count, used.count.count);
      }
    }
    EXPECT_GT(holes, 16u) << "class " << i;
    while (one.slab().available() != 0)
      for (void* const slot : one.take(100, 100)) ASSERT_TRUE(outside.insert(slot).second);
    EXPECT_EQ(outside.size(), slots_per_slab(c));
    EXPECT_FALSE(one.slab().has_holes) << "all of them are filled";
  }
}

TEST(Slab, SlotsBesideHolesComeFirst) {
  const SizeClass c = size_class(class_index_for(kKiB));
  const OneSlab one(c);
  pages::purge({first_page_of(one.unit()), {units_per_slab(c) * std::size_t{kPagesPerUnit}}});
  std::vector<void*> slots = one.take(16, 16);
  for (const std::size_t slot : {15u, 14u, 13u, 12u, 3u, 2u}) EXPECT_EQ(put_back(one.unit(), c, slots[slot]), slab::Returned::kBack);
  ASSERT_EQ(punch_holes(one), 1u) << "slots are popped from the back: the first page is that of the last four";
  const std::uint64_t before = process_account.committed();
  const std::vector<void*> again = one.take(2, 2);
  EXPECT_EQ((std::set<void*>{again.begin(), again.end()}), (std::set<void*>{slots[2], slots[3]}));
  EXPECT_EQ(process_account.committed(), before);
  EXPECT_TRUE(one.slab().has_holes);
  EXPECT_EQ(one.take(1, 1).size(), 1u);
  EXPECT_EQ(process_account.committed(), before + kPageSize);
  EXPECT_FALSE(one.slab().has_holes);
}

TEST(Slab, ABudgetThatRefusesAHoleLeavesItsSlots) {
  const SizeClass c = size_class(class_index_for(kKiB));
  const OneSlab one(c);
  std::vector<void*> slots;
  while (one.slab().available() != 0)
    for (void* const slot : one.take(100, 100)) slots.push_back(slot);
  for (void* const slot : slots) EXPECT_EQ(put_back(one.unit(), c, slot), slab::Returned::kBack);
  punch_holes(one);
  process_account.set_limits(process_account.committed() + 2 * kPageSize, kNoLimit);
  EXPECT_EQ(one.take(40, 40).size(), 8u) << "of two pages";
  EXPECT_EQ(one.take(1, 1).size(), 0u);
  process_account.set_limits(kNoLimit, kNoLimit);
  EXPECT_EQ(one.slab().outside(), 8u);
  EXPECT_EQ(one.take(100, 100).size(), slots.size() - 8);
  EXPECT_FALSE(one.slab().has_holes);
}

}  // namespace
}  // namespace nebula
