#include "size_class/size_class.hpp"

#include <gtest/gtest.h>

namespace nebula {
namespace {

TEST(SizeClass, EverySizeHasTheSmallestClassThatHoldsIt) {
  for (std::size_t size = 1; size <= kSmallMax; ++size) {
    const unsigned c = class_index_for(size);
    ASSERT_TRUE(is_size_class(c)) << size;
    ASSERT_GE(slot_size(size_class(c)), size);
    if (c > kClassFirst) { ASSERT_LT(slot_size(size_class(c - 1)), size); }
  }
  EXPECT_EQ(class_index_for(0), 0u);
}

TEST(SizeClass, ClassesRiseAndWasteLittle) {
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    const std::size_t size = slot_size(size_class(c));
    EXPECT_EQ(size % kGranule, 0u) << c;
    if (c > kClassFirst) {
      const std::size_t before = slot_size(size_class(c - 1));
      EXPECT_GT(size, before);
      EXPECT_LE(size - before, before <= kFineMax ? before / 8 + kGranule : before / 4) << size;
    }
  }
  EXPECT_FALSE(is_size_class(0));
  EXPECT_FALSE(is_size_class(kClassEnd));
}

TEST(SizeClass, SlotAtIsExactForEveryOffset) {
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    const std::size_t bytes = units_per_slab(c) * kUnitSize;
    for (std::size_t offset = 0; offset < bytes; ++offset)
      ASSERT_EQ(slot_at(c, offset), offset / slot_size(c)) << "class " << i << " offset " << offset;
  }
}

TEST(SizeClass, SlabsHoldTheirSlotsAndBatchesFit) {
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    EXPECT_LE(slots_per_slab(c) * slot_size(c), units_per_slab(c) * kUnitSize);
    EXPECT_GT((slots_per_slab(c) + 1) * slot_size(c), units_per_slab(c) * kUnitSize);
    EXPECT_LE(kSizeClasses.batch[i], kBatchMost);
    EXPECT_GE(kSizeClasses.batch[i], 1);
    EXPECT_LE(kSizeClasses.slots_per_pool_first[i], kSizeClasses.slots_per_pool[i]);
    EXPECT_LE(kSizeClasses.slots_per_pool[i], kSizeClasses.slots_per_pool_swing[i]);
    EXPECT_LE(kSizeClasses.batch[i], kSizeClasses.slots_per_pool[i]);
  }
}

TEST(SizeClass, AlignedClassesAlignEverySlot) {
  for (std::size_t alignment = 1; alignment <= 2 * kPageSize; alignment *= 2) {
    for (std::size_t size = 0; size <= kSmallMax + 8; size += size < 600 ? 1 : 37) {
      const unsigned c = class_index_for_aligned(size, alignment);
      unsigned expected = 0;
      if (alignment <= kPageSize && size <= kSmallMax) {
        for (unsigned i = kClassFirst; i < kClassEnd && expected == 0; ++i)
          if (slot_size(size_class(i)) >= size && slot_size(size_class(i)) % alignment == 0) expected = i;
      }
      ASSERT_EQ(c, expected) << size << " at " << alignment;
    }
  }
}

}  // namespace
}  // namespace nebula
