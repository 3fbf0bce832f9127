// Several node heaps, on this machine: each thread says which node it runs on. On real nodes the same is tested by
// tests/numa.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "diag/misuse.hpp"
#include "heap/heap.hpp"
#include "node_heap/node_heap.hpp"
#include "support/heap_checks.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula {
namespace {

constexpr unsigned kNodes = 4;

class Nodes : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    testing::pretend_nodes(kNodes);
    testing::run_on_node(0);
    testing::start_heap();
  }
  void TearDown() override {
    heap::flush_this_thread();
    EXPECT_EQ(testing::inconsistency(), "");
  }
};

unsigned node_of(const void* object) { return NodeHeap::of(static_cast<UnitIndex>(unit_of(object))).id(); }

using testing::on_node;

std::vector<void*> allocate(unsigned count, std::size_t size) {
  std::vector<void*> objects;
  for (unsigned i = 0; i < count; ++i) objects.push_back(heap::allocate(size));
  return objects;
}

void free_all(const std::vector<void*>& objects) {
  for (void* const object : objects) heap::deallocate(object, "free");
}

TEST_F(Nodes, ObjectsComeFromTheNodeOfTheThread) {
  for (unsigned node = 0; node < kNodes; ++node) {
    on_node(node, [node] {
      for (const std::size_t size : {16u, 200u, 1024u, 3000u, 32768u, 40000u, 3u << 20}) {
        const std::vector<void*> objects = allocate(100, size);
        for (void* const object : objects) EXPECT_EQ(node_of(object), node) << size;
        free_all(objects);
      }
    });
  }
}

TEST_F(Nodes, WhatAnotherNodesThreadFreesGoesHome) {
  constexpr std::size_t kSize = 96;
  const SizeClass c = size_class(class_index_for(kSize));
  const std::uint64_t returned = NodeHeap::at(1).traffic().returned;
  std::vector<void*> objects;
  on_node(1, [&] { objects = allocate(10'000, kSize); });
  on_node(2, [&] {
    // Its own pool is open, so what is freed would stay in it.
    std::vector<void*> own = allocate(100, kSize);
    for (void* const object : objects) {
      heap::deallocate(object, "free");
      own.push_back(heap::allocate(kSize));
    }
    for (void* const object : own) EXPECT_EQ(node_of(object), 2u);
    free_all(own);
  });
  EXPECT_EQ(NodeHeap::at(1).traffic().returned - returned, objects.size());
  for (unsigned node = 0; node < kNodes; ++node) NodeHeap::at(static_cast<HeapId>(node)).drain_depots(NodeHeap::Depots::kAll);
  EXPECT_EQ(NodeHeap::at(1).facts(c).slots_outside, 0u);
  EXPECT_EQ(NodeHeap::at(2).facts(c).slots_outside, 0u);
}

TEST_F(Nodes, AReturnGoesThroughADepotToTheThreadsOfItsNode) {
  constexpr std::size_t kSize = 640;
  const SizeClass c = size_class(class_index_for(kSize));
  std::vector<void*> objects;
  on_node(3, [&] { objects = allocate(10 * kSizeClasses.batch[index_of(c)], kSize); });
  std::uint64_t in_depots = 0;
  std::thread([&] {
    testing::run_on_node(0);
    free_all(objects);
    in_depots = NodeHeap::at(3).facts(c).in_depots;
  }).join();
  EXPECT_GT(in_depots, 0u) << "with two threads: this one and that";
  EXPECT_EQ(NodeHeap::at(0).facts(c).in_depots, 0u);
}

TEST_F(Nodes, LargeObjectsOfAnotherNodeAreFreedResizedAndMoved) {
  std::vector<void*> objects;
  on_node(1, [&] { objects = allocate(20, 2 << 20); });
  on_node(2, [&] {
    for (void*& object : objects) {
      testing::fill_as(object, 2 << 20, 7);
      object = heap::reallocate(object, 5 << 20);
      EXPECT_TRUE(testing::is_filled_as(object, 2 << 20, 7));
      object = heap::reallocate(object, 100'000);
      EXPECT_TRUE(testing::is_filled_as(object, 64 * kKiB, 7));
    }
    free_all(objects);
  });
}

TEST_F(Nodes, AThreadThatMovesTakesFromItsNewNode) {
  const std::uint64_t arrivals = NodeHeap::at(3).traffic().arrivals;
  on_node(1, [] {
    free_all(allocate(5000, 64));
    const std::vector<void*> before = allocate(500, 64);
    testing::run_on_node(3);
    const std::vector<void*> moved = allocate(5000, 64);
    // At most what was in its pool.
    unsigned old = 0;
    for (void* const object : moved) old += node_of(object) == 1 ? 1 : 0;
    EXPECT_LE(old, kSizeClasses.slots_per_pool_swing[index_of(size_class(class_index_for(64)))]);
    EXPECT_EQ(node_of(moved.back()), 3u);
    free_all(before);
    free_all(moved);
  });
  EXPECT_EQ(NodeHeap::at(3).traffic().arrivals - arrivals, 1u);
}

TEST_F(Nodes, AThreadThatIsMovedToAndFroSettlesNotAtEachLook) {
  std::uint64_t arrivals = 0;
  for (unsigned node = 0; node < 2; ++node) arrivals += NodeHeap::at(static_cast<HeapId>(node)).traffic().arrivals;
  const auto start = std::chrono::steady_clock::now();
  on_node(0, [] {
    for (unsigned i = 0; i < 10'000; ++i) {
      testing::run_on_node(i % 2);
      free_all(allocate(50, 1000));
    }
  });
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
  std::uint64_t after = 0;
  for (unsigned node = 0; node < 2; ++node) after += NodeHeap::at(static_cast<HeapId>(node)).traffic().arrivals;
  EXPECT_LE(after - arrivals, static_cast<std::uint64_t>(milliseconds) / 6 + 2);  // the coarse clock steps by 4 ms
}

TEST_F(Nodes, AtALimitTheOthersHelpOut) {
  constexpr std::size_t kSize = 2560;
  const std::uint64_t fallbacks = NodeHeap::at(1).traffic().fallbacks;
  heap::trim();
  std::vector<void*> objects;
  on_node(2, [&] {
    objects = allocate(2000, kSize);
    free_all(objects);
  });
  process_account.set_limits(process_account.committed() + 64 * kKiB, kNoLimit);
  on_node(1, [&] {
    const std::vector<void*> got = allocate(1000, kSize);
    unsigned from_other = 0;
    for (void* const object : got) {
      ASSERT_NE(object, nullptr);
      from_other += node_of(object) == 2 ? 1 : 0;
    }
    EXPECT_GT(from_other, 900u);
    free_all(got);
  });
  process_account.set_limits(kNoLimit, kNoLimit);
  EXPECT_GT(NodeHeap::at(1).traffic().fallbacks, fallbacks);
}

TEST_F(Nodes, MisuseOfAnotherNodesSlotsIsFound) {
  misuse::set_action(misuse::Action::kWarn);
  std::vector<void*> objects;
  on_node(1, [&] { objects = allocate(10, 48); });
  const std::uint64_t doubles = misuse::counts.double_frees.load();
  const std::uint64_t invalid = misuse::counts.invalid_frees.load();
  heap::deallocate(objects[0], "free");
  heap::deallocate(objects[0], "free");  // the one freed last: at once
  EXPECT_EQ(misuse::counts.double_frees.load(), doubles + 1);
  heap::deallocate(objects[1], "free");
  heap::deallocate(objects[0], "free");  // at the flush
  heap::deallocate(static_cast<char*>(objects[2]) + 16, "free");
  heap::flush_this_thread();
  EXPECT_EQ(misuse::counts.double_frees.load(), doubles + 2);
  EXPECT_EQ(misuse::counts.invalid_frees.load(), invalid + 1);
  for (unsigned i = 2; i < 10; ++i) heap::deallocate(objects[i], "free");
  misuse::set_action(misuse::Action::kAbort);
}

TEST_F(Nodes, AThreadWithoutAHeapTakesFromItsNodeToo) {
  on_node(3, [] {
    { const SlowPath slow; thread_heap::ensure(); thread_heap::release_current(); }
    void* const object = heap::allocate(80);
    EXPECT_EQ(node_of(object), 3u);
    heap::deallocate(object, "free");
  });
}

TEST_F(Nodes, HeapsAreMadeOnce) { EXPECT_FALSE(NodeHeap::make(kNodes)); }

}  // namespace
}  // namespace nebula
