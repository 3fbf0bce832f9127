#include "report/totals.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "budget/usage.hpp"
#include "heap/heap.hpp"
#include "node_heap/node_heap.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

std::uint64_t ladder(const report::Totals& t) {
  return t.live_bytes + t.pooled_bytes + t.depot_bytes + t.slab_free_bytes + t.dirty_bytes + t.metadata_bytes;
}

std::uint64_t in_use(const report::Totals& t) { return t.live_bytes + t.pooled_bytes + t.depot_bytes; }

TEST(Report, TheLadderAddsUpAfterEveryStep) {
  testing::start_heap();
  testing::Random random(3);
  struct Held {
    void* object;
    std::size_t bytes;
  };
  std::vector<Held> held;
  std::uint64_t bytes = 0;
  for (int i = 0; i < 6000; ++i) {
    if (random.below(5) < 3) {
      void* const object = heap::allocate(random.size());
      held.push_back({object, heap::usable_size(object)});
      bytes += held.back().bytes;
    } else if (!held.empty()) {
      std::swap(held[random.below(held.size())], held.back());
      bytes -= held.back().bytes;
      heap::deallocate(held.back().object, "free");
      held.pop_back();
    }
    if (i % 500 == 250) heap::trim();
    if (i % 50 != 0) continue;
    const report::Totals totals = report::totals();
    ASSERT_EQ(totals.live_objects, held.size());
    ASSERT_EQ(totals.live_bytes, bytes);
    ASSERT_EQ(ladder(totals), process_account.committed());
    ASSERT_EQ(totals.committed_bytes, process_account.committed());
    ASSERT_EQ(totals.committed_bytes + totals.clean_bytes, totals.mapped_bytes);
    ASSERT_LE(totals.large_live_bytes, totals.live_bytes);
    ASSERT_EQ(bytes_in_use.value(), in_use(totals));
  }
  for (const Held& each : held) heap::deallocate(each.object, "free");
  EXPECT_EQ(testing::live(), testing::Live{});
}

// While others work: what moves between two places is in one of them.
TEST(Report, TotalsAreOfOneMoment) {
  testing::start_heap();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      testing::Random random(t);
      void* held[64] = {};
      while (!stop.load(std::memory_order_relaxed)) {
        void*& place = held[random.below(64)];
        heap::deallocate(place, "free");
        place = heap::allocate(random.below(3000));
      }
      for (void* const object : held) heap::deallocate(object, "free");
    });
  }
  for (int i = 0; i < 200; ++i) {
    const report::Totals totals = report::totals();
    EXPECT_EQ(totals.committed_bytes, ladder(totals));
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(testing::live(), testing::Live{});
  EXPECT_EQ(testing::inconsistency(), "");
}

// Threads that fill and empty what is theirs, and the next thread's, by megabytes: what they spend from their shares of what lies below the
// peak, and what they put there, adds up.
TEST(Report, TheBytesInUseAddUpBetweenThreads) {
  testing::start_heap();
  constexpr unsigned kThreads = 3;
  constexpr std::size_t kObjects = 2000;
  std::vector<std::vector<void*>> held(kThreads);
  bool was_split = false;
  for (unsigned round = 0; round < 12; ++round) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t, round] {
        testing::Random random(round * kThreads + t);
        std::vector<void*>& mine = held[(t + round) % kThreads];
        for (unsigned swing = 0; swing < 8; ++swing) {
          while (mine.size() < kObjects) mine.push_back(heap::allocate(random.below(64) == 0 ? random.below(100'000) : random.below(2000)));
          const std::size_t rest = random.below(kObjects);
          for (; mine.size() > rest; mine.pop_back()) heap::deallocate(mine.back(), "free");
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const report::Totals totals = report::totals();
    ASSERT_EQ(bytes_in_use.value(), in_use(totals)) << "round " << round;
    ASSERT_GE(bytes_in_use.peak(), bytes_in_use.value());
    was_split = was_split || bytes_in_use.is_split();
  }
  EXPECT_EQ(was_split, NodeHeap::shard_for(1) != NodeHeap::shard_for(0)) << "only where there are several processors";
  for (const std::vector<void*>& each : held)
    for (void* const object : each) heap::deallocate(object, "free");
  EXPECT_EQ(testing::live(), testing::Live{});
}

}  // namespace
}  // namespace nebula
