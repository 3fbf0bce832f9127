// A profile where there are several node heaps: samples lie on their thread's node like other objects, go home from wherever they are
// freed, and the estimates are those of one node. Each thread says which node it runs on.
#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <vector>

#include "heap/heap.hpp"
#include "node_heap/node_heap.hpp"
#include "profiling/sites.hpp"
#include "spans/large.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

constexpr unsigned kNodes = 4;
constexpr std::uint64_t kPeriod = 16 * 1024;

class SampledNodes : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    testing::pretend_nodes(kNodes);
    testing::run_on_node(0);
    testing::start_heap();
    ASSERT_TRUE(profiling::is_on() || heap::begin_profile(kPeriod));
    ASSERT_EQ(NodeHeap::count(), kNodes);
  }
  void TearDown() override {
    heap::flush_this_thread();
    EXPECT_EQ(testing::inconsistency(), "");
  }
};

using testing::on_node;

struct Estimate {
  double live = 0, all = 0;
  std::uint64_t samples = 0, freed = 0;
};

Estimate estimate() {
  const profiling::sites::Totals totals = profiling::sites::totals();
  const profiling::sites::Counts counts = profiling::sites::counts();
  return {static_cast<double>(totals.live.bytes()), static_cast<double>(totals.all.bytes()), counts.samples, counts.freed};
}

TEST_F(SampledNodes, EveryObjectIsOnTheNodeOfItsThread) {
  const Estimate before = estimate();
  std::vector<void*> objects[kNodes];
  std::uint64_t bytes = 0;
  for (unsigned node = 0; node < kNodes; ++node)
    on_node(node, [&] {
      for (int i = 0; i < 20'000; ++i)
        for (const std::size_t size : {48u, 1024u, 10'240u}) objects[node].push_back(heap::allocate(size));
      objects[node].push_back(heap::allocate(3u << 20));
      for (void* const object : objects[node]) {
        ASSERT_NE(object, nullptr);
        ASSERT_EQ(NodeHeap::of(static_cast<UnitIndex>(unit_of(object))).id(), node);
        bytes += heap::usable_size(object);
      }
    });
  const Estimate full = estimate();
  const double deviation = std::sqrt(static_cast<double>(bytes) * kPeriod);
  EXPECT_GT(full.samples - before.samples, 10'000u);
  EXPECT_NEAR(full.live - before.live, static_cast<double>(bytes), 6 * deviation);
  EXPECT_NEAR(full.all - before.all, static_cast<double>(bytes), 6 * deviation);
  EXPECT_EQ(testing::inconsistency(), "");
  // Each node's by a thread of the next.
  for (unsigned node = 0; node < kNodes; ++node)
    on_node((node + 1) % kNodes, [&] {
      for (void* const object : objects[node]) heap::deallocate(object, "free");
    });
  const Estimate empty = estimate();
  EXPECT_NEAR(empty.live - before.live, 0, 1);
  EXPECT_EQ(empty.freed - before.freed, empty.samples - before.samples) << "every sample that was freed is counted so";
}

// A thread that the kernel moves to another node: what it allocates from then on is there, samples too.
TEST_F(SampledNodes, AThreadThatMovesTakesFromItsNewNode) {
  std::vector<void*> objects;
  on_node(1, [&] {
    for (int i = 0; i < 2'000; ++i) objects.push_back(heap::allocate(4096));
    testing::run_on_node(3);
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // it is looked up at most every 10 ms
    std::vector<void*> later;
    for (int i = 0; i < 4'000; ++i) later.push_back(heap::allocate(4096));
    unsigned there = 0;
    for (void* const object : later) there += NodeHeap::of(static_cast<UnitIndex>(unit_of(object))).id() == 3 ? 1 : 0;
    EXPECT_GT(there, 3'800u);
    objects.insert(objects.end(), later.begin(), later.end());
  });
  const Estimate full = estimate();
  for (void* const object : objects) heap::deallocate(object, "free");
  const Estimate empty = estimate();
  EXPECT_NEAR(full.live - empty.live, 6'000.0 * 4096, 6 * std::sqrt(6'000.0 * 4096 * kPeriod));
}

}  // namespace
}  // namespace nebula
