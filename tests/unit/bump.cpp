#include "bump/bump.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "config/routes.hpp"
#include "diag/misuse.hpp"
#include "heap/heap.hpp"
#include "heap/routes.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

// The heap with every class on the bump route, and none in pools.
void start_bumping(std::uint64_t limit = 256 * kMiB) {
  testing::start_heap();
  config::Routes routes;
  ASSERT_TRUE(config::parse_routes("bump", routes));
  heap::set_routes(routes, limit);
  heap::flush_this_thread();
  // What the first allocation of the process refilled, before this thread had a heap or a route.
  static std::vector<void*> pooled;
  for (void* object = nullptr;;) {
    object = heap::allocate(64);
    if (unit_use(unit_of(object)).load() == static_cast<unsigned>(UnitUse::kBump)) {
      heap::deallocate(object, "free");
      break;
    }
    pooled.push_back(object);
  }
}

bool is_in_block(const void* object) { return unit_use(unit_of(object)).load() == static_cast<unsigned>(UnitUse::kBump); }
char* at(void* object) { return static_cast<char*>(object); }
bump::Mine& mine() { return current.heap->bump; }

TEST(Bump, ObjectsLieOneBehindTheOtherInStepsOf16) {
  start_bumping();
  char* const first = at(heap::allocate(1));
  char* const second = at(heap::allocate(17));
  char* const third = at(heap::allocate(1000));
  char* const fourth = at(heap::allocate(0));
  EXPECT_EQ(second - first, 16);
  EXPECT_EQ(third - second, 32);
  EXPECT_EQ(fourth - third, 1008);
  EXPECT_EQ(heap::usable_size(first), 16u);
  EXPECT_EQ(heap::usable_size(second), 32u);
  EXPECT_EQ(heap::usable_size(third), 1008u);
  EXPECT_EQ(heap::usable_size(fourth), 16u);
  for (void* const object : {first, second, third, fourth}) heap::deallocate(object, "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, FreeingTheLastRewindsOverAllThatIsDeadBeforeIt) {
  start_bumping();
  void* const kept = heap::allocate(48);
  const std::uint32_t mark = bump::mark_of(mine());
  void* const first = heap::allocate(100);
  void* const second = heap::allocate(200);
  void* const last = heap::allocate(300);
  const std::uint64_t rewinds = mine().rewinds;
  heap::deallocate(first, "free");
  heap::deallocate(second, "free");
  EXPECT_GT(bump::mark_of(mine()), mark);
  EXPECT_EQ(mine().rewinds, rewinds);
  heap::deallocate(last, "free");
  EXPECT_EQ(bump::mark_of(mine()), mark);
  EXPECT_EQ(mine().rewinds, rewinds + 1);
  EXPECT_EQ(heap::allocate(5), first);
  heap::deallocate(first, "free");
  heap::deallocate(kept, "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, TheLastObjectGrowsAndShrinksInPlace) {
  start_bumping();
  void* const before = heap::allocate(64);
  void* const last = heap::allocate(64);
  std::memset(last, 7, 64);
  EXPECT_EQ(heap::reallocate(last, 30'000), last);
  EXPECT_EQ(heap::usable_size(last), 30'000u);
  EXPECT_EQ(at(last)[63], 7);
  EXPECT_EQ(heap::reallocate(last, 20), last);
  EXPECT_EQ(heap::usable_size(last), 32u);
  EXPECT_EQ(at(heap::allocate(16)) - at(last), 32);
  EXPECT_NE(heap::reallocate(before, 1000), before);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, WhatOthersFreedIsFoundByTheOwner) {
  start_bumping();
  const std::uint32_t mark = bump::mark_of(mine());
  const UnitIndex head = mine().head;
  std::vector<void*> objects;
  for (int i = 0; i < 100; ++i) objects.push_back(heap::allocate(160));
  ASSERT_EQ(mine().head, head);
  std::thread([&] { for (void* const object : objects) heap::deallocate(object, "free"); }).join();
  EXPECT_EQ(bump::mark_of(mine()), mark + 1000);
  // At the next look for room, which an alignment always is.
  void* const object = heap::allocate_aligned(64, 64);
  EXPECT_LT(bump::mark_of(mine()), mark + 16);
  heap::deallocate(object, "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, ABlockWithoutObjectsIsUsedAgainAtOnce) {
  start_bumping();
  // Until the blocks have their full size, so that all rounds are alike.
  std::vector<void*> objects;
  while (mine().next_units != bump::kUnitsMost || mine().end != bump::kUnitsMost * bump::kGranulesPerUnit - 1)
    objects.push_back(heap::allocate(4096));
  std::thread([&] { for (void* const object : objects) heap::deallocate(object, "free"); }).join();
  const UnitIndex head = mine().head;
  const std::uint64_t reuses = mine().reuses;
  const std::uint64_t taken = bump::block_counts().taken;
  for (int round = 0; round < 3; ++round) {
    objects.clear();
    while (bump::mark_of(mine()) + 256 <= mine().end) objects.push_back(heap::allocate(4096));
    // The last stays behind its owner's back, so that no rewind does the work.
    std::thread([&] { for (void* const object : objects) heap::deallocate(object, "free"); }).join();
    void* const next = heap::allocate(30'000);
    EXPECT_EQ(mine().head, head);
    heap::deallocate(next, "free");
  }
  EXPECT_GE(mine().reuses + bump::block_counts().taken, reuses + taken);
  EXPECT_EQ(bump::block_counts().taken, taken);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, WhoeverFreesTheLastObjectOfALeftBlockGivesItBack) {
  start_bumping();
  const std::uint64_t before = bump::block_counts().blocks;
  std::vector<void*> objects;
  std::thread([&] {
    for (int i = 0; i < 100'000; ++i) objects.push_back(heap::allocate(static_cast<std::size_t>(16 + i % 500)));
  }).join();
  const std::uint64_t during = bump::block_counts().blocks;
  EXPECT_GT(during, before + 20);
  std::atomic<std::size_t> next{0};
  const auto free_some = [&] {
    for (std::size_t i = next.fetch_add(1); i < objects.size(); i = next.fetch_add(1)) heap::deallocate(objects[i], "free");
  };
  std::thread other(free_some);
  free_some();
  other.join();
  EXPECT_EQ(bump::block_counts().blocks, before);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, DeadPagesGoBackAtALimitAndLiveOnesStay) {
  start_bumping();
  std::vector<void*> objects;
  for (int i = 0; i < 4000; ++i) {
    objects.push_back(heap::allocate(1000));
    testing::fill(objects.back(), 1000);
  }
  // One of each hundred lives: of its pages one or two.
  for (std::size_t i = 0; i < objects.size(); ++i)
    if (i % 100 != 0) heap::deallocate(objects[i], "free");
  const std::uint64_t committed = process_account.committed();
  heap::trim();
  EXPECT_LT(process_account.committed() + 3'000'000, committed);
  EXPECT_EQ(testing::inconsistency(), "");
  for (std::size_t i = 0; i < objects.size(); i += 100) EXPECT_TRUE(testing::is_filled(objects[i], 1000));
  // Over the holes: rewound to, they are committed anew.
  for (std::size_t i = 0; i < objects.size(); i += 100) heap::deallocate(objects[i], "free");
  for (int i = 0; i < 4000; ++i) std::memset(heap::allocate(1000), 1, 1000);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, PagesThatSeveralPurgeAtOnceAreCreditedOnce) {
  start_bumping();
  constexpr int kTrimming = 3;
  for (int round = 0; round < 100; ++round) {
    std::vector<void*> objects;
    std::thread([&] {
      for (int i = 0; i < 1000; ++i) objects.push_back(heap::allocate(1000));
    }).join();
    std::vector<void*> kept;
    for (std::size_t i = 0; i < objects.size(); ++i)
      if (i % 50 == 0) kept.push_back(objects[i]);
      else heap::deallocate(objects[i], "free");
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kTrimming; ++t)
      threads.emplace_back([&] {
        ++ready;
        while (ready != kTrimming) std::this_thread::yield();
        heap::trim();
      });
    for (std::thread& thread : threads) thread.join();
    for (void* const object : kept) heap::deallocate(object, "free");
  }
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, AboveTheLimitOfBlocksPoolsServe) {
  const std::uint64_t limit = bump::block_counts().bytes + kMiB;
  start_bumping(limit);
  std::vector<void*> objects;
  bool any_pooled = false;
  for (int i = 0; i < 5000; ++i) {
    objects.push_back(heap::allocate(1000));
    any_pooled |= !is_in_block(objects.back());
  }
  EXPECT_TRUE(any_pooled);
  EXPECT_LE(bump::block_counts().bytes, limit);
  EXPECT_GT(bump::block_counts().passed_on, 0u);
  for (void* const object : objects) heap::deallocate(object, "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, AlignedObjectsAndWhatTheyLeaveOut) {
  start_bumping();
  for (std::size_t alignment = 16; alignment <= kPageSize; alignment *= 2) {
    void* const before = heap::allocate(16);
    void* const object = heap::allocate_aligned(100, alignment);
    EXPECT_EQ(reinterpret_cast<Address>(object) % alignment, 0u);
    EXPECT_TRUE(is_in_block(object)) << alignment;
    EXPECT_EQ(heap::usable_size(before), 16u);
    EXPECT_EQ(heap::usable_size(object), 112u);
    EXPECT_EQ(testing::inconsistency(), "");
    heap::deallocate(object, "free");
    EXPECT_EQ(heap::allocate(16), at(before) + 16);
  }
}

TEST(Bump, MisuseIsFoundAtOnce) {
  start_bumping();
  misuse::set_action(misuse::Action::kWarn);
  char* const object = at(heap::allocate(64));
  char* const other = at(heap::allocate(64));
  void* const last = heap::allocate(64);
  heap::deallocate(other, "free");
  const std::uint64_t doubles = misuse::counts.double_frees;
  const std::uint64_t invalid = misuse::counts.invalid_frees;
  heap::deallocate(other, "free");
  std::thread([&] { heap::deallocate(other, "free"); }).join();
  EXPECT_EQ(misuse::counts.double_frees, doubles + 2);
  heap::deallocate(object + 8, "free");
  heap::deallocate(object + 16, "free");
  heap::deallocate(at(last) + 64, "free");   // the mark
  heap::deallocate(at(last) + 640, "free");  // behind it
  EXPECT_EQ(heap::reallocate(object + 16, 10), nullptr);
  EXPECT_EQ(heap::usable_size(other), 0u);
  EXPECT_EQ(misuse::counts.invalid_frees + misuse::counts.double_frees, doubles + 2 + invalid + 6);
  heap::deallocate(last, "free");
  heap::deallocate(last, "free");  // rewound: it is no object any more
  EXPECT_EQ(misuse::counts.invalid_frees + misuse::counts.double_frees, doubles + 2 + invalid + 7);
  heap::deallocate(object, "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Bump, ClassesGoWhereTheirSlotSizeGoes) {
  testing::start_heap();
  config::Routes routes;
  ASSERT_TRUE(config::parse_routes("-500:bump,501-1024:pool,4000-8192:node,10000-:node", routes));
  heap::set_routes(routes, 256 * kMiB);
  using heap::routes::Route;
  const auto route_of = [](std::size_t size) { return heap::routes::of(size_class(class_index_for(size))); };
  EXPECT_EQ(route_of(16), Route::kBump);
  EXPECT_EQ(route_of(496), Route::kBump);
  EXPECT_EQ(route_of(497), Route::kPool);  // of the class of 512
  EXPECT_EQ(route_of(1024), Route::kPool);
  EXPECT_EQ(route_of(2000), Route::kPool);
  EXPECT_EQ(route_of(4096), Route::kNode);
  EXPECT_EQ(route_of(9000), Route::kNode);  // of the class of 10,240
  EXPECT_EQ(route_of(32 * kKiB), Route::kNode);
  void* const object = heap::allocate(4096);
  EXPECT_EQ(heap::usable_size(object), 4096u);
  EXPECT_EQ(unit_use(unit_of(object)).load(), static_cast<unsigned>(UnitUse::kLargeHead));
  EXPECT_EQ(heap::reallocate(object, 8000), object);
  heap::deallocate(object, "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

}  // namespace
}  // namespace nebula
