#include "node_heap/depot.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "support/heap_checks.hpp"

namespace nebula {
namespace {

void* slot_numbered(std::uintptr_t number) { return reinterpret_cast<void*>(number + 1); }

TEST(Depot, GivesBackWhatItGot) {
  testing::start_heap();
  Depot depot;
  const SizeClass c = size_class(1);
  const unsigned batch = kSizeClasses.batch[1];
  void* in[kBatchMost];
  void* out[kBatchMost + 5] = {};
  for (unsigned i = 0; i < batch; ++i) in[i] = slot_numbered(i);
  EXPECT_EQ(depot.withdraw(c, out + batch, batch), 0u);
  ASSERT_TRUE(depot.deposit(c, in));
  EXPECT_EQ(depot.slots(c), batch);
  EXPECT_EQ(depot.withdraw(c, out + batch, batch - 1), 0u) << "no room for a batch";
  EXPECT_EQ(depot.withdraw(c, out + kBatchMost + 5, kBatchMost + 5), batch);
  for (unsigned i = 0; i < batch; ++i) EXPECT_EQ(out[kBatchMost + 5 - batch + i], in[i]);
  EXPECT_EQ(depot.slots(c), 0u);
  EXPECT_EQ(depot.facts().deposits, 1u);
  EXPECT_EQ(depot.facts().withdrawals(), 1u);
}

TEST(Depot, HasAnEnd) {
  testing::start_heap();
  for (unsigned i : {1u, 30u, kClassLast}) {
    Depot depot;
    const SizeClass c = size_class(i);
    const unsigned batch = kSizeClasses.batch[i];
    void* slots[kBatchMost] = {};
    unsigned batches = 0;
    while (batches < 10'000 && depot.deposit(c, slots)) ++batches;
    EXPECT_GE(batches, 2u);
    EXPECT_LT(batches, 10'000u);
    EXPECT_EQ(depot.slots(c), std::uint64_t{batches} * batch);
    while (depot.withdraw(c, slots + batch, batch) != 0) --batches;
    EXPECT_EQ(batches, 0u);
  }
}

// Threads pass batches round; each slot has one owner at every moment, who writes its mark into the slot's place.
TEST(Depot, EverySlotHasOneOwner) {
  testing::start_heap();
  constexpr unsigned kThreads = 8;
  constexpr unsigned kRounds = 20'000;
  constexpr unsigned kBatchesEach = 3;
  const SizeClass c = size_class(1);
  const unsigned batch = kSizeClasses.batch[1];
  const unsigned total = kThreads * kBatchesEach * batch;
  Depot depot;
  const auto owners = std::make_unique<std::atomic<unsigned>[]>(total + 1);
  std::atomic<bool> shared{false};
  std::vector<std::vector<void*>> left(kThreads);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::vector<void*>& mine = left[t];
      for (unsigned i = 0; i < kBatchesEach * batch; ++i) {
        mine.push_back(slot_numbered(t * kBatchesEach * batch + i));
        owners[reinterpret_cast<std::uintptr_t>(mine.back())] = t + 1;
      }
      testing::Random random(t);
      void* slots[kBatchMost];
      for (unsigned round = 0; round < kRounds; ++round) {
        if (mine.size() >= batch && random.below(2) == 0) {
          void** const first = mine.data() + mine.size() - batch;
          for (unsigned i = 0; i < batch; ++i) owners[reinterpret_cast<std::uintptr_t>(first[i])] = 0;
          if (depot.deposit(c, first)) mine.resize(mine.size() - batch);
          else for (unsigned i = 0; i < batch; ++i) owners[reinterpret_cast<std::uintptr_t>(first[i])] = t + 1;
        } else {
          const unsigned got = depot.withdraw(c, slots + kBatchMost, kBatchMost);
          for (unsigned i = kBatchMost - got; i < kBatchMost; ++i) {
            if (owners[reinterpret_cast<std::uintptr_t>(slots[i])].exchange(t + 1) != 0) shared = true;
            mine.push_back(slots[i]);
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(shared) << "two threads had the same slot";
  std::vector<unsigned> seen(total + 1);
  void* slots[kBatchMost];
  for (const std::vector<void*>& mine : left)
    for (void* const slot : mine) ++seen[reinterpret_cast<std::uintptr_t>(slot)];
  while (const unsigned got = depot.withdraw(c, slots + kBatchMost, kBatchMost))
    for (unsigned i = kBatchMost - got; i < kBatchMost; ++i) ++seen[reinterpret_cast<std::uintptr_t>(slots[i])];
  for (unsigned i = 1; i <= total; ++i) EXPECT_EQ(seen[i], 1u) << i;
  EXPECT_EQ(depot.slots(c), 0u);
}

}  // namespace
}  // namespace nebula
