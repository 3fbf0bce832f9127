#include "heap/heap.hpp"

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "diag/misuse.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

bool is_zero(const void* object, std::size_t size) {
  const auto* const bytes = static_cast<const char*>(object);
  return size == 0 || (bytes[0] == 0 && std::memcmp(bytes, bytes + 1, size - 1) == 0);
}

const std::size_t kSizes[] = {0,    1,    8,         16,          17,          100,      1024,   1025,     4096,
                              8192, 9000, 32 * kKiB, 32 * kKiB + 1, 64 * kKiB, 65 * kKiB, kMiB, 2 * kMiB, 5 * kMiB + 1};

TEST(Heap, ObjectsHoldTheirSizeAndAreAligned) {
  testing::start_heap();
  for (const std::size_t size : kSizes) {
    void* const object = heap::allocate(size);
    ASSERT_NE(object, nullptr);
    EXPECT_EQ(reinterpret_cast<Address>(object) % kGranule, 0u);
    EXPECT_GE(heap::usable_size(object), size);
    EXPECT_GT(heap::usable_size(object), 0u);
    testing::fill(object, heap::usable_size(object));
    EXPECT_TRUE(testing::is_filled(object, heap::usable_size(object)));
    heap::deallocate(object, "free");
  }
  heap::deallocate(nullptr, "free");
  EXPECT_EQ(heap::usable_size(nullptr), 0u);
  EXPECT_EQ(testing::live(), testing::Live{});
}

// A page of the kernel's page tables maps 2 MiB.
TEST(Heap, WhatEachProgramTouchesSharesPageTables) {
  testing::start_heap();
  const auto first_of_map = reinterpret_cast<Address>(class_map());
  EXPECT_EQ((record_map.region_records_end - 1) / kRegionSize, first_of_map / kRegionSize);
  EXPECT_EQ((record_map.thread_heaps_end - 1) / kRegionSize, record_map.unit_records / kRegionSize);
}

TEST(Heap, ZeroedMemoryIsZeroAfterDirtyReuse) {
  testing::start_heap();
  for (int round = 0; round < 3; ++round) {
    for (const std::size_t size : kSizes) {
      std::vector<void*> dirty;
      for (int i = 0; i < 5; ++i) {
        dirty.push_back(heap::allocate(size));
        std::memset(dirty.back(), 0xff, heap::usable_size(dirty.back()));
      }
      for (void* const object : dirty) heap::deallocate(object, "free");
      if (round == 1) heap::trim();
      for (void*& object : dirty) {
        object = heap::allocate_zeroed(size);
        ASSERT_TRUE(is_zero(object, size)) << size;
      }
      for (void* const object : dirty) heap::deallocate(object, "free");
    }
  }
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Heap, AlignedUpToManyRegions) {
  testing::start_heap();
  std::vector<void*> held;
  for (std::size_t alignment = 1; alignment <= 16 * kMiB; alignment *= 2) {
    for (const std::size_t size : kSizes) {
      void* const object = heap::allocate_aligned(size, alignment);
      ASSERT_NE(object, nullptr) << size << " at " << alignment;
      ASSERT_EQ(reinterpret_cast<Address>(object) % alignment, 0u);
      ASSERT_GE(heap::usable_size(object), size);
      testing::fill(object, size);
      held.push_back(object);
      if (held.size() > 20) {
        heap::deallocate(held.front(), "free");
        held.erase(held.begin());
      }
    }
  }
  for (void* const object : held) heap::deallocate(object, "free");
  EXPECT_EQ(testing::live(), testing::Live{});
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Heap, ReallocateKeepsContents) {
  testing::start_heap();
  for (const std::size_t from : kSizes) {
    for (const std::size_t to : kSizes) {
      if (to == 0) continue;
      void* const object = heap::allocate(from);
      testing::fill_as(object, from, 5);
      void* const moved = heap::reallocate(object, to);
      ASSERT_NE(moved, nullptr);
      // The pattern is sparse in large objects; the shorter of both is what must be kept.
      const std::size_t kept = from < to ? from : to;
      ASSERT_TRUE(testing::is_filled_as(moved, kept - kept % 8, 5)) << from << " to " << to;
      testing::fill(moved, heap::usable_size(moved));
      heap::deallocate(moved, "free");
    }
  }
  EXPECT_EQ(testing::live(), testing::Live{});
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Heap, ImpossibleSizesAreRefusedAndErrnoIsLeftAlone) {
  testing::start_heap();
  void* const object = heap::allocate(100);
  errno = 4711;
  EXPECT_EQ(heap::allocate(~std::size_t{0}), nullptr);
  EXPECT_EQ(heap::allocate(PTRDIFF_MAX), nullptr);
  EXPECT_EQ(heap::allocate_zeroed(~std::size_t{0}), nullptr);
  EXPECT_EQ(heap::allocate_aligned(PTRDIFF_MAX, kMiB), nullptr);
  EXPECT_EQ(heap::allocate_aligned(1, std::size_t{1} << 63), nullptr);
  EXPECT_EQ(heap::reallocate(object, ~std::size_t{0}), nullptr);
  EXPECT_EQ(errno, 4711);
  heap::deallocate(object, "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Heap, TrimGivesBackWhatIsFree) {
  testing::start_heap();
  std::vector<void*> held;
  for (int i = 0; i < 3000; ++i) {
    held.push_back(heap::allocate(3000));
    std::memset(held.back(), 1, 3000);
  }
  for (void* const object : held) heap::deallocate(object, "free");
  EXPECT_TRUE(heap::trim());
  EXPECT_FALSE(heap::trim()) << "there is nothing left to give back";
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Heap, MisuseIsToldNotFollowed) {
  testing::start_heap();
  misuse::set_action(misuse::Action::kWarn);
  const auto total = [] { return misuse::counts.double_frees.load() + misuse::counts.invalid_frees.load(); };
  const std::uint64_t before = total();
  char* const large = static_cast<char*>(heap::allocate(kMiB));
  heap::deallocate(large + 8, "free");
  heap::deallocate(large + kUnitSize, "free");
  EXPECT_EQ(total(), before + 2);
  heap::deallocate(large, "free");
  heap::deallocate(large, "free");
  EXPECT_EQ(total(), before + 3);
  void* const small = heap::allocate(64);
  heap::deallocate(small, "free");
  heap::deallocate(small, "free");
  EXPECT_EQ(total(), before + 4);
  misuse::set_action(misuse::Action::kAbort);
  heap::trim();
  EXPECT_EQ(testing::live(), testing::Live{});
  EXPECT_EQ(testing::inconsistency(), "");
}

// A fork in a signal handler takes no lock. In the child, what other threads were changing under theirs is made anew, and comes to
// the same.
TEST(Heap, AChildRebuildsWhatOthersHeldLocked) {
  testing::start_heap();
  std::vector<void*> held;
  testing::Random random(7);
  for (int i = 0; i < 3000; ++i) held.push_back(heap::allocate(random.size()));
  for (std::size_t i = 0; i < held.size(); ++i)
    if (random.below(3) != 0) heap::deallocate(std::exchange(held[i], nullptr), "free");
  heap::flush_this_thread();
  const testing::Live live = testing::live();
  ASSERT_EQ(testing::inconsistency(), "");

  std::atomic<bool> locked{false};
  std::atomic<bool> forked{false};
  std::thread other([&] {
    const SlowPath slow;
    thread_heap::lock_all();
    node_heap.lock_all();
    locked = true;
    while (!forked) std::this_thread::yield();
    node_heap.unlock_all();
    thread_heap::unlock_all();
  });
  while (!locked) std::this_thread::yield();
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    pages::reset_in_child();
    thread_heap::reset_in_child();
    node_heap.reset_in_child();
    if (!(testing::live() == live)) _exit(1);
    if (!testing::inconsistency().empty()) _exit(2);
    for (void* const object : held) heap::deallocate(object, "free");
    for (int i = 0; i < 3000; ++i) heap::deallocate(heap::allocate(random.size()), "free");
    heap::trim();
    if (!testing::inconsistency().empty()) _exit(3);
    _exit(0);
  }
  forked = true;
  other.join();
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (void* const object : held) heap::deallocate(object, "free");
}

}  // namespace
}  // namespace nebula
