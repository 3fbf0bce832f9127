#include "spans/large.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
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

void* at(Address address) { return reinterpret_cast<void*>(address); }
UnitIndex head_at(Address address) { return static_cast<UnitIndex>(unit_of(at(address))); }

TEST(Large, SizesAreWholePagesAndCounted) {
  const large::Counts before = large::counts();
  for (std::size_t size : {kPageSize, 33 * kKiB, kUnitSize, kUnitSize + 1, 3 * kMiB + 5}) {
    const Address object = large::allocate(spans(), size, 1, large::Contents::kAny);
    ASSERT_NE(object, 0u);
    EXPECT_EQ(object % kUnitSize, 0u);
    EXPECT_EQ(large::size_of(head_at(object)), pages_for(size).bytes());
    EXPECT_EQ(large::counts().live_bytes, before.live_bytes + pages_for(size).bytes());
    testing::fill(at(object), pages_for(size).bytes());
    EXPECT_TRUE(large::deallocate(spans(), at(object)));
    EXPECT_FALSE(large::deallocate(spans(), at(object))) << "freed twice";
  }
  EXPECT_EQ(large::counts().live_bytes, before.live_bytes);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Large, InteriorPointersAreNoObjects) {
  const Address object = large::allocate(spans(), 5 * kUnitSize, 1, large::Contents::kAny);
  EXPECT_FALSE(large::deallocate(spans(), at(object + 16)));
  EXPECT_FALSE(large::deallocate(spans(), at(object + kUnitSize)));
  EXPECT_EQ(large::head_of(head_at(object) + 4), head_at(object));
  EXPECT_TRUE(large::deallocate(spans(), at(object)));
}

TEST(Large, AlignmentsUpToGigabytes) {
  for (std::size_t alignment = kPageSize; alignment <= kGiB; alignment *= 4) {
    const Address object = large::allocate(spans(), 70 * kKiB, alignment, large::Contents::kAny);
    ASSERT_NE(object, 0u) << alignment;
    EXPECT_EQ(object % alignment, 0u);
    EXPECT_TRUE(large::deallocate(spans(), at(object)));
  }
}

TEST(Large, ZeroedAfterDirtyUse) {
  const std::size_t size = 700 * kKiB;
  Address object = large::allocate(spans(), size, 1, large::Contents::kAny);
  std::memset(at(object), 0xff, size);
  ASSERT_TRUE(large::deallocate(spans(), at(object)));
  object = large::allocate(spans(), size, 1, large::Contents::kZero);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(object);
  for (std::size_t i = 0; i < large::size_of(head_at(object)); ++i) ASSERT_EQ(bytes[i], 0) << i;
  EXPECT_TRUE(large::deallocate(spans(), at(object)));
}

TEST(Large, ResizesInPlaceWhereThereIsRoom) {
  const std::size_t size = 10 * kUnitSize;
  const Address object = large::allocate(spans(), size, 1, large::Contents::kAny);
  testing::fill_as(at(object), size, 1);
  const UnitIndex head = head_at(object);
  ASSERT_TRUE(large::resize_in_place(spans(), head, 4 * kUnitSize));
  EXPECT_EQ(large::size_of(head), 4 * kUnitSize);
  EXPECT_EQ(unit_use(head + 5).load(), static_cast<std::uint8_t>(UnitUse::kNothing));
  EXPECT_EQ(testing::inconsistency(), "");
  ASSERT_TRUE(large::resize_in_place(spans(), head, 9 * kUnitSize + 1));
  EXPECT_EQ(large::size_of(head), 9 * kUnitSize + kPageSize);
  ASSERT_TRUE(large::resize_in_place(spans(), head, 9 * kUnitSize));
  ASSERT_TRUE(large::resize_in_place(spans(), head, 3 * kPageSize));
  EXPECT_EQ(testing::inconsistency(), "");
  EXPECT_TRUE(large::deallocate(spans(), at(object)));
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Large, GrowsByMovingPagesWithContents) {
  const std::size_t small = 3 * kMiB + kPageSize;
  const std::size_t big = 9 * kMiB;
  const Address object = large::allocate(spans(), small, 1, large::Contents::kAny);
  // Dirty memory for the new place, so that the pages there are dropped, not added.
  const Address dirty = large::allocate(spans(), big, 1, large::Contents::kAny);
  std::memset(at(dirty), 0xee, big);
  ASSERT_TRUE(large::deallocate(spans(), at(dirty)));
  testing::fill_as(at(object), small, 2);
  const Address grown = large::grow_by_moving_pages(spans(), head_at(object), big);
  if (grown == 0) GTEST_SKIP() << "this kernel cannot move pages";
  EXPECT_TRUE(testing::is_filled_as(at(grown), small, 2));
  EXPECT_EQ(large::size_of(head_at(grown)), big);
  EXPECT_FALSE(large::deallocate(spans(), at(object)));
  std::memset(at(grown), 0x11, big);
  EXPECT_EQ(testing::inconsistency(), "");
  // The old place reads as zero and can be used again.
  const Address again = large::allocate(spans(), small, 1, large::Contents::kZero);
  for (std::size_t i = 0; i < small; i += 64) ASSERT_EQ(*reinterpret_cast<const char*>(again + i), 0);
  EXPECT_TRUE(large::deallocate(spans(), at(again)));
  EXPECT_TRUE(large::deallocate(spans(), at(grown)));
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Large, RegionsThatPagesWereMovedIntoHealWhenPurged) {
  const auto mappings = [] {
    std::ifstream maps("/proc/self/maps");
    return std::count(std::istreambuf_iterator<char>(maps), std::istreambuf_iterator<char>(), '\n');
  };
  spans().purge(SpanHeap::Purge::kEverything);
  const auto before = mappings();
  std::vector<Address> objects;
  for (int i = 0; i < 50; ++i) {
    const Address object = large::allocate(spans(), kMiB + kPageSize, 1, large::Contents::kAny);
    const Address grown = large::grow_by_moving_pages(spans(), head_at(object), 3 * kMiB);
    if (grown == 0) GTEST_SKIP() << "this kernel cannot move pages";
    std::memset(at(grown), 1, 3 * kMiB);
    objects.push_back(grown);
  }
  EXPECT_GT(mappings(), before + 40) << "nothing to heal: the test tests nothing";
  for (const Address object : objects) EXPECT_TRUE(large::deallocate(spans(), at(object)));
  spans().purge(SpanHeap::Purge::kEverything);
  EXPECT_LE(mappings(), before + 8);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Large, RefusedByTheBudgetLeavesNothingBehind) {
  const Address object = large::allocate(spans(), kMiB, 1, large::Contents::kAny);
  node_heap.spans().purge(SpanHeap::Purge::kEverything);
  const std::uint64_t committed = process_account.committed();
  process_account.set_limits(committed + 256 * kKiB, kNoLimit);
  EXPECT_EQ(large::allocate(spans(), 2 * kMiB, 1, large::Contents::kAny), 0u);
  EXPECT_FALSE(large::resize_in_place(spans(), head_at(object), 3 * kMiB));
  EXPECT_EQ(large::grow_by_moving_pages(spans(), head_at(object), 3 * kMiB), 0u);
  EXPECT_EQ(large::size_of(head_at(object)), kMiB);
  process_account.set_limits(kNoLimit, kNoLimit);
  EXPECT_EQ(testing::inconsistency(), "");
  EXPECT_TRUE(large::deallocate(spans(), at(object)));
}

}  // namespace
}  // namespace nebula
