#include "thread_heap/thread_heap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <bit>
#include <iterator>
#include <latch>
#include <semaphore>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "budget/account.hpp"
#include "heap/heap.hpp"
#include "os/process.hpp"
#include "support/heap_checks.hpp"
#include "thread_heap/registry.hpp"

namespace nebula {
namespace {

// How many slots of the class this thread's pool holds.
unsigned pooled(SizeClass c) { return nebula::pooled(*current.heap, index_of(c)); }

TEST(ThreadHeap, CountsEveryCall) {
  testing::start_heap();
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    const thread_heap::PoolFacts before = thread_heap::pool_facts(c);
    std::vector<void*> held;
    const unsigned count = i < 30 ? 5000 : 300;
    for (unsigned n = 0; n < count; ++n) {
      held.push_back(heap::allocate(slot_size(c)));
      ASSERT_NE(held.back(), nullptr);
      if (n % 3 == 0) {
        heap::deallocate(held.back(), "free");
        held.pop_back();
      }
    }
    const thread_heap::PoolFacts after = thread_heap::pool_facts(c);
    EXPECT_EQ(after.allocations - before.allocations, count) << i;
    EXPECT_EQ(after.frees - before.frees, count - held.size()) << i;
    for (void* const slot : held) heap::deallocate(slot, "free");
    EXPECT_EQ(thread_heap::pool_facts(c).frees - before.frees, count) << i;
  }
  EXPECT_EQ(testing::inconsistency(), "");
  EXPECT_EQ(testing::live(), testing::Live{});
}

TEST(ThreadHeap, PoolsGrowAndNeverBeyondTheirMost) {
  testing::start_heap();
  // In a thread of its own: what the tests before did with this one's pools is still to be seen in their sizes.
  std::thread([] {
    for (unsigned i : {1u, 10u, 64u, 80u, kClassLast}) {
      const SizeClass c = size_class(i);
      std::vector<void*> held;
      for (unsigned n = 0; n < 4u * kSizeClasses.slots_per_pool[i]; ++n) held.push_back(heap::allocate(slot_size(c)));
      for (void* const slot : held) heap::deallocate(slot, "free");
      // The first flush after all the refills is a swing: one doubling.
      EXPECT_LE(pooled(c), 2u * kSizeClasses.slots_per_pool[i]);
      for (int swing = 0; swing < 20; ++swing) {
        for (void*& slot : held) slot = heap::allocate(slot_size(c));
        for (void* const slot : held) heap::deallocate(slot, "free");
        EXPECT_LE(pooled(c), kSizeClasses.slots_per_pool_swing[i]);
      }
      EXPECT_GT(pooled(c), 0u);
    }
    const SlowPath slow;
    thread_heap::flush_all(*current.heap);
    for (unsigned i = kClassFirst; i < kClassEnd; ++i)
      EXPECT_EQ(fast_load_low(current.heap->word[i]), current.heap->bottom[i]);
  }).join();
}

// Of the pools in pieces: that each has its own, and that no more are taken.
std::string wrong_pieces(const ThreadHeap& heap) {
  std::vector<unsigned> owners(kPieces);
  std::ostringstream out;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    if (!is_in_pieces(heap, c)) continue;
    const unsigned end = (heap.bottom[c] + limit_of(heap, c) - kLayout.pieces) / kPieceSlots + 1;
    for (unsigned piece = (heap.bottom[c] - kLayout.pieces) / kPieceSlots; piece < end; ++piece) {
      if (owners.at(piece) != 0) out << "piece " << piece << " is of classes " << owners[piece] << " and " << c << '\n';
      owners[piece] = c;
    }
  }
  for (unsigned piece = 0; piece < kPieces; ++piece)
    if ((heap.pieces[piece / 64] >> piece % 64 & 1) != (owners[piece] != 0))
      out << "piece " << piece << " is of class " << owners[piece] << ", and its bit says otherwise\n";
  return out.str();
}

std::uint64_t pieces_taken(const ThreadHeap& heap) {
  std::uint64_t taken = 0;
  for (const std::uint64_t bits : heap.pieces) taken += static_cast<std::uint64_t>(std::popcount(bits));
  return taken;
}

void swing(SizeClass c, unsigned count) {
  std::vector<void*> held(count);
  for (int time = 0; time < 4; ++time) {
    for (void*& slot : held) testing::fill(slot = heap::allocate(slot_size(c)), slot_size(c));
    for (void* const slot : held) {
      ASSERT_TRUE(testing::is_filled(slot, slot_size(c)));
      heap::deallocate(slot, "free");
    }
  }
}

void tick_once() {
  current.heap->ticked_at = 0;
  const SlowPath slow;
  thread_heap::tick(*current.heap);
}

TEST(ThreadHeap, PoolsThatSwingHavePiecesOfTheirOwn) {
  testing::start_heap();
  std::thread([] {
    testing::Random random(7);
    std::uint64_t most = 0;
    unsigned bottoms[kClassEnd] = {};
    bool has_moved = false;
    for (int step = 0; step < 400; ++step) {
      const unsigned i = 1 + static_cast<unsigned>(random.below(step % 100 < 70 ? 12 : kClassLast));
      swing(size_class(i), kSizeClasses.slots_per_pool_swing[i] * (1 + static_cast<unsigned>(random.below(4))) / 2);
      most = std::max(most, pieces_taken(*current.heap));
      const unsigned bottom = current.heap->bottom[i];
      if (is_in_pieces(*current.heap, i)) has_moved |= bottoms[i] != 0 && bottoms[i] != bottom;
      bottoms[i] = is_in_pieces(*current.heap, i) ? bottom : 0;
      if (random.below(8) == 0) tick_once();
      ASSERT_EQ(wrong_pieces(*current.heap), "") << step;
    }
    EXPECT_GT(most, kPieces / 4);  // a slow machine ticks in between
    EXPECT_TRUE(has_moved);
    for (int look = 0; look < 12; ++look) tick_once();
    EXPECT_EQ(pieces_taken(*current.heap), 0u) << "nothing swings any more";
    EXPECT_EQ(wrong_pieces(*current.heap), "");
    EXPECT_EQ(current.heap->swing_bytes, 0u);
  }).join();
  EXPECT_EQ(testing::inconsistency(), "");
  EXPECT_EQ(testing::live(), testing::Live{});
}

// One class has the pieces behind its own free and stays where it is.
TEST(ThreadHeap, APoolGrowsIntoThePiecesBehindIt) {
  testing::start_heap();
  std::thread([] {
    swing(size_class(2), kSizeClasses.slots_per_pool[2] + 100u);
    ASSERT_TRUE(is_in_pieces(*current.heap, 2));
    const unsigned place = current.heap->bottom[2];
    for (int time = 0; time < 4; ++time) swing(size_class(2), 2 * kSizeClasses.slots_per_pool_swing[2]);
    EXPECT_EQ(limit_of(*current.heap, 2), kSizeClasses.slots_per_pool_swing[2]);
    EXPECT_EQ(current.heap->bottom[2], place);
  }).join();
}

TEST(ThreadHeap, APoolThatFindsNoPiecesStaysAsItIs) {
  testing::start_heap();
  std::thread([] {
    swing(size_class(1), 1);  // so that this thread has a heap
    ThreadHeap* const heap = current.heap;
    std::array<std::uint64_t, kPieces / 64> before;
    std::copy(std::begin(heap->pieces), std::end(heap->pieces), before.begin());
    std::fill(std::begin(heap->pieces), std::end(heap->pieces), ~std::uint64_t{0});
    swing(size_class(2), 2 * kSizeClasses.slots_per_pool_swing[2]);
    EXPECT_FALSE(is_in_pieces(*heap, 2));
    EXPECT_EQ(limit_of(*heap, 2), kSizeClasses.slots_per_pool[2]);
    std::copy(before.begin(), before.end(), heap->pieces);
    swing(size_class(2), 2 * kSizeClasses.slots_per_pool_swing[2]);
    EXPECT_TRUE(is_in_pieces(*heap, 2));
    EXPECT_EQ(wrong_pieces(*heap), "");
  }).join();
}

// Where all that a thread may have for swings is used, a class grows to its ordinary room all the same.
TEST(ThreadHeap, AClassThatMayNotSwingHasItsOrdinaryRoom) {
  testing::start_heap();
  std::thread([] {
    swing(size_class(1), 1);  // so that this thread has a heap
    const std::uint32_t before = std::exchange(current.heap->swing_bytes, 0xf0000000);
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
      swing(size_class(i), 2 * kSizeClasses.slots_per_pool_swing[i]);
      EXPECT_FALSE(is_in_pieces(*current.heap, i));
      EXPECT_EQ(limit_of(*current.heap, i), kSizeClasses.slots_per_pool[i]) << i;
    }
    current.heap->swing_bytes = before;
  }).join();
}

// A free that finds a large pool full takes so many slots to the slabs, not half of them all; and far fewer where they lie scattered.
TEST(ThreadHeap, OneFreeFlushesNoMoreThanAThousandSlots) {
  testing::start_heap();
  std::thread([] {
    struct Expected {
      unsigned c;
      std::uint64_t in_order, scattered;
    };
    // A pool of 8,192 slots; of 1,536, which gives its older half; of 512, with batches of 42.
    for (const Expected& expected : {Expected{2, 1024, 124}, {8, 768, 124}, {24, 256, 84}}) {
      const SizeClass c = size_class(expected.c);
      for (int time = 0; time < 4; ++time) swing(c, 2 * kSizeClasses.slots_per_pool_swing[expected.c]);
      std::vector<void*> held(3 * kSizeClasses.slots_per_pool_swing[expected.c]);
      testing::Random random(5);
      for (const bool is_scattered : {false, true}) {
        for (void*& slot : held) slot = heap::allocate(slot_size(c));
        if (is_scattered)
          for (std::size_t i = held.size(); i > 1; --i) std::swap(held[i - 1], held[random.below(i)]);
        std::uint64_t before = pooled(c);
        std::uint64_t most = 0;
        bool is_in_order = is_scattered;  // the first time, of what a refill left
        for (void* const slot : held) {
          heap::deallocate(slot, "free");
          const std::uint64_t now = pooled(c);
          if (now < before && !std::exchange(is_in_order, false)) most = std::max(most, before + 1 - now);
          before = now;
        }
        EXPECT_EQ(most, is_scattered ? expected.scattered : expected.in_order) << slot_size(c);
      }
    }
  }).join();
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(ThreadHeap, AThreadsHeapIsUsedAgain) {
  testing::start_heap();
  heap::deallocate(heap::allocate(10), "free");
  const thread_heap::Facts before = thread_heap::facts();
  for (int i = 0; i < 20; ++i) {
    std::thread([] {
      std::vector<void*> held;
      for (int n = 0; n < 3000; ++n) held.push_back(heap::allocate(48));
      for (void* const slot : held) heap::deallocate(slot, "free");
    }).join();
  }
  const thread_heap::Facts after = thread_heap::facts();
  EXPECT_EQ(after.threads_started - before.threads_started, 20u);
  EXPECT_EQ(after.threads_now, before.threads_now);
  EXPECT_LE(after.heaps, before.heaps + 1);
  EXPECT_EQ(testing::inconsistency(), "");
  EXPECT_EQ(testing::live(), testing::Live{});
}

// Whichever heaps the threads before them have left.
TEST(ThreadHeap, AThreadsShardIsTheOneWithFewestThreads) {
  testing::start_heap();
  const unsigned shards = NodeHeap::shards_most();
  heap::deallocate(heap::allocate(16), "free");
  for (int round = 0; round < 20; ++round) {
    std::barrier all_have_heaps(static_cast<std::ptrdiff_t>(4 * shards));
    std::vector<std::thread> many;
    for (unsigned i = 0; i < 4 * shards; ++i)
      many.emplace_back([&] {
        heap::deallocate(heap::allocate(16), "free");
        all_have_heaps.arrive_and_wait();
      });
    for (std::thread& thread : many) thread.join();
    std::vector<unsigned> threads(shards);
    ++threads[static_cast<unsigned>(NodeHeap::shard_for(current.heap->index))];
    std::binary_semaphore goes_on{0};
    std::latch done{1};
    std::vector<std::thread> living;
    for (unsigned i = 1; i < shards; ++i) {
      living.emplace_back([&] {
        heap::deallocate(heap::allocate(16), "free");
        ++threads[static_cast<unsigned>(NodeHeap::shard_for(current.heap->index))];
        goes_on.release();
        done.wait();
      });
      goes_on.acquire();
    }
    for (unsigned shard = 0; shard < shards; ++shard) EXPECT_EQ(threads[shard], 1u) << shard;
    done.count_down();
    for (std::thread& thread : living) thread.join();
  }
}

// Of all threads; of those that are gone alone, where there is no other and the caller's own were flushed.
std::uint64_t bytes_in_pools() {
  std::uint64_t bytes = 0;
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) bytes += thread_heap::pool_facts(size_class(i)).pooled * slot_size(size_class(i));
  return bytes;
}

void start_with_empty_pools() {
  testing::start_heap();
  heap::deallocate(heap::allocate(16), "free");
  heap::flush_at_exit();
}

void use_sizes(std::size_t first, std::size_t last, int of_each) {
  std::vector<void*> held;
  for (std::size_t size = first; size <= last; size += 16)
    for (int n = 0; n < of_each; ++n) held.push_back(heap::allocate(size));
  for (void* const slot : held) heap::deallocate(slot, "free");
}

template <class Work>
void in_a_thread(Work work) {
  std::thread(work).join();
}

constexpr const char* kSeveralNodes = "threads of several nodes give back what they have";

TEST(ThreadHeap, TheNextThreadHasWhatWasLeftInThePools) {
  start_with_empty_pools();
  if (NodeHeap::count() != 1) GTEST_SKIP() << kSeveralNodes;
  in_a_thread([] { use_sizes(16, 256, 10); });
  EXPECT_GT(bytes_in_pools(), 0u);
  const std::uint64_t refills = thread_heap::facts().refills;
  in_a_thread([] { use_sizes(16, 256, 10); });
  EXPECT_EQ(thread_heap::facts().refills, refills) << "from what the one before had";
  EXPECT_EQ(testing::inconsistency(), "");
  heap::flush_at_exit();
  EXPECT_EQ(bytes_in_pools(), 0u);
  EXPECT_EQ(testing::inconsistency(), "");
  EXPECT_EQ(testing::live(), testing::Live{});
}

TEST(ThreadHeap, OfEachPoolOnlyLittleIsLeft) {
  start_with_empty_pools();
  if (NodeHeap::count() != 1) GTEST_SKIP() << kSeveralNodes;
  heap::trim();  // a class whose slabs other tests have left in pieces may swing here, and then all goes back
  in_a_thread([] {
    use_sizes(16, 512, 30);
    EXPECT_EQ(current.heap->swing_bytes, 0u);
  });
  for (unsigned i = kClassFirst; i < kClassEnd; ++i)
    EXPECT_LE(thread_heap::pool_facts(size_class(i)).pooled * slot_size(size_class(i)), 4 * kKiB) << i;
  EXPECT_GT(thread_heap::pool_facts(size_class(class_index_for(256))).pooled, 12u);
}

TEST(ThreadHeap, WhatThreadsThatAreGoneLeaveIsBounded) {
  start_with_empty_pools();
  if (NodeHeap::count() != 1) GTEST_SKIP() << kSeveralNodes;
  constexpr int kThreads = 64;
  std::barrier all(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      use_sizes(16, 512, 10);
      all.arrive_and_wait();
    });
  for (std::thread& thread : threads) thread.join();
  const std::uint64_t most = std::max<std::uint64_t>(kMiB, process_account.committed() / 32);
  std::uint64_t kept = 0;
  unsigned heaps = 0;
  for_each_heap([&](const ThreadHeap& heap) {
    if (heap.kept_bytes == 0) return;
    kept += heap.kept_bytes;
    ++heaps;
    std::uint64_t pools = 0;
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) pools += pooled(heap, i) * slot_size(size_class(i));
    EXPECT_EQ(heap.kept_bytes, pools + room_of(heap).bytes() - pages_for(kPackedBytes).bytes());
  });
  EXPECT_LE(kept, most);
  EXPECT_GT(kept, most / 2);
  EXPECT_LT(heaps, static_cast<unsigned>(kThreads));
  EXPECT_LE(bytes_in_pools(), kept);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(ThreadHeap, WhatThreadsThatAreGoneLeaveGoesWithTimeAndForReclaim) {
  start_with_empty_pools();
  if (NodeHeap::count() != 1) GTEST_SKIP() << kSeveralNodes;
  const auto flush_kept = [](std::uint64_t idle_milliseconds) {
    const SlowPath slow;
    thread_heap::flush_kept_pools(idle_milliseconds);
  };
  in_a_thread([] { use_sizes(16, 256, 10); });
  flush_kept(600'000);
  EXPECT_GT(bytes_in_pools(), 0u) << "it ended not so long ago";
  flush_kept(0);
  EXPECT_EQ(bytes_in_pools(), 0u);
  in_a_thread([] { use_sizes(16, 256, 10); });
  EXPECT_GT(bytes_in_pools(), 0u);
  heap::trim();
  EXPECT_EQ(bytes_in_pools(), 0u);
  // Pools that were emptied so are as of a new thread.
  in_a_thread([] {
    heap::deallocate(heap::allocate(16), "free");
    for (unsigned i = kClassFirst + 1; i < kClassEnd; ++i) EXPECT_EQ(current.heap->capacity[i], 0) << "no pool that is open: " << i;
  });
  EXPECT_EQ(testing::inconsistency(), "");
  EXPECT_EQ(testing::live(), testing::Live{});
}

// Each by its own age: the heaps that threads prefer must not keep the others young.
TEST(ThreadHeap, WhatWasLeftLongAgoGoesAlone) {
  start_with_empty_pools();
  if (NodeHeap::count() != 1) GTEST_SKIP() << kSeveralNodes;
  std::uint32_t old = 0;
  std::uint32_t young = 0;
  in_a_thread([&] {
    use_sizes(16, 256, 10);
    young = current.heap->index;
    in_a_thread([&] {
      use_sizes(16, 256, 10);
      old = current.heap->index;
    });
  });
  ASSERT_NE(heap_at(old).kept_bytes, 0u);
  heap_at(old).kept_at = 0;
  {
    const SlowPath slow;
    thread_heap::flush_kept_pools(60'000);
  }
  EXPECT_EQ(heap_at(old).kept_bytes, 0u);
  EXPECT_NE(heap_at(young).kept_bytes, 0u);
  EXPECT_EQ(testing::inconsistency(), "");
}

// A thread that ends beside a reclaim leaves nothing behind it.
TEST(ThreadHeap, AReclaimBetweenKeepingAndLeavingIsNotMissed) {
  start_with_empty_pools();
  if (NodeHeap::count() != 1) GTEST_SKIP() << kSeveralNodes;
  in_a_thread([] {
    use_sizes(16, 256, 10);
    const SlowPath slow;
    ThreadHeap& heap = *current.heap;
    ASSERT_TRUE(try_keep_pools(heap));
    std::thread([] {
      const SlowPath in_other;
      thread_heap::ask_others_to_flush();
    }).join();
    EXPECT_FALSE(put_idle(heap, Pools::kKept)) << "so the caller empties it";
    EXPECT_EQ(heap.kept_bytes, 0u);
  });
  EXPECT_EQ(bytes_in_pools(), 0u);
  EXPECT_EQ(testing::inconsistency(), "");
}

// Some misuse is found only at the slabs, so what is left has to come there from time to time.
TEST(ThreadHeap, NothingIsLeftForEver) {
  start_with_empty_pools();
  if (NodeHeap::count() != 1) GTEST_SKIP() << kSeveralNodes;
  unsigned ends = 0;
  do {
    in_a_thread([] { use_sizes(16, 256, 1); });
    ++ends;
  } while (bytes_in_pools() != 0 && ends < 100);
  EXPECT_EQ(ends, 17u);
}

TEST(ThreadHeap, WithoutAHeapSlotsPassDirectly) {
  testing::start_heap();
  std::thread([] {
    const SlowPath slow;
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
      void* const slot = thread_heap::allocate_direct(size_class(i));
      ASSERT_NE(slot, nullptr);
      testing::fill(slot, slot_size(size_class(i)));
      thread_heap::free_direct(size_class(i), slot, "free");
    }
    EXPECT_TRUE(thread_heap::is_none(current.heap));
  }).join();
  EXPECT_EQ(testing::inconsistency(), "");
  EXPECT_EQ(testing::live(), testing::Live{});
}

// In a thread whose heap is of another shard than that; each that is not waits for the next.
template <class Work>
void in_another_shard(NodeHeap::Shard shard, Work work, unsigned tries = 8) {
  std::thread([&] {
    heap::deallocate(heap::allocate(16), "free");
    if (NodeHeap::shard_for(current.heap->index) != shard) work();
    else if (tries != 0) in_another_shard(shard, work, tries - 1);
    else ADD_FAILURE() << "nine heaps of one shard";
  }).join();
}

// What a thread frees before it allocates any of the kind must not become its next object: its cache line is another's.
TEST(ThreadHeap, WhatWasNeverAllocatedHereGoesHome) {
  start_with_empty_pools();
  if (os::usable_processors() < 2) GTEST_SKIP() << "one processor, one shard: nobody to share a line with at a time";
  std::vector<void*> given;
  for (int n = 0; n < 100; ++n) given.push_back(heap::allocate(24));
  const auto line = [](const void* slot) { return reinterpret_cast<Address>(slot) / kCacheLine; };
  const NodeHeap::Shard shard = NodeHeap::shard_for(current.heap->index);
  in_another_shard(shard, [&] {
    heap::deallocate(given[10], "free");
    void* const mine = heap::allocate(24);
    EXPECT_NE(line(mine), line(given[10]));
    heap::deallocate(mine, "free");
    void* const again = heap::allocate(24);
    EXPECT_EQ(again, mine) << "from then on the pool is open";
    heap::deallocate(again, "free");
    EXPECT_EQ(testing::inconsistency(), "");
  });
  given.erase(given.begin() + 10);
  heap::flush_at_exit();
  in_another_shard(shard, [&] {
    // One that frees many takes them over.
    const thread_heap::Facts before = thread_heap::facts();
    for (void* const slot : given) heap::deallocate(slot, "free");
    EXPECT_LT(thread_heap::facts().flushes - before.flushes, given.size() / 4);
    EXPECT_EQ(heap::allocate(24), given.back());
    heap::deallocate(given.back(), "free");
  });
  EXPECT_EQ(testing::inconsistency(), "");
}

// Allocates objects of the class until the process has `bytes` more, with a visit at each.
template <class Visit>
std::vector<void*> grow_by(std::size_t bytes, SizeClass c, Visit visit) {
  std::vector<void*> held;
  held.reserve(2 * bytes / slot_size(c));
  for (const std::uint64_t end = process_account.committed() + bytes; process_account.committed() < end; visit())
    held.push_back(heap::allocate(slot_size(c)));
  return held;
}

void free_all(std::vector<void*>& held) {
  for (void* const slot : held) heap::deallocate(slot, "free");
  held.clear();
}

// A few slots of a size that was left may keep a slab each: they go back before there is new memory.
TEST(ThreadHeap, PoolsOfSizesThatWereLeftGoBack) {
  testing::start_heap();
  std::thread([] {
    const SizeClass left = size_class(class_index_for(1'400));
    const SizeClass used = size_class(class_index_for(900));
    const SizeClass grown = size_class(class_index_for(2'300));
    std::vector<void*> some;
    for (const SizeClass c : {left, used}) {
      for (int n = 0; n < 100; ++n) some.push_back(heap::allocate(slot_size(c)));
      free_all(some);
      ASSERT_GT(pooled(c), 0u);
    }
    std::vector<void*> held = grow_by(4 * kMiB, grown, [&] { heap::deallocate(heap::allocate(slot_size(used)), "free"); });
    EXPECT_EQ(pooled(left), 0u);
    EXPECT_GT(pooled(used), 0u);
    EXPECT_EQ(testing::inconsistency(), "");
    free_all(held);
  }).join();
  EXPECT_EQ(testing::live(), testing::Live{});
}

TEST(ThreadHeap, WhatIsAtHomeInAnotherShardStaysInThePool) {
  testing::start_heap();
  if (os::usable_processors() < 2) GTEST_SKIP() << "one processor, one shard";
  const SizeClass c = size_class(class_index_for(1'400));
  constexpr unsigned kGiven = 15;
  std::vector<void*> given;
  NodeHeap::Shard shard{};
  std::thread([&] {
    for (unsigned n = 0; n < kGiven; ++n) given.push_back(heap::allocate(slot_size(c)));
    shard = NodeHeap::shard_for(current.heap->index);
  }).join();
  in_another_shard(shard, [&] {
    heap::deallocate(heap::allocate(slot_size(c)), "free");
    EXPECT_GT(pooled(c), 0u);
    free_all(given);
    EXPECT_GT(pooled(c), kGiven);
    std::vector<void*> held = grow_by(4 * kMiB, size_class(class_index_for(2'300)), [] {});
    EXPECT_EQ(pooled(c), kGiven) << "its own went back, for it to use";
    EXPECT_EQ(testing::inconsistency(), "");
    free_all(held);
  });
  EXPECT_EQ(testing::live(), testing::Live{});
}

// A depot is the short way for slots from everywhere; what lies together is taken again in the order of its addresses.
TEST(ThreadHeap, NeighboursGoBackToTheirSlabsAndOthersThroughTheDepot) {
  testing::start_heap();
  heap::deallocate(heap::allocate(16), "free");  // so that this thread has a heap
  std::thread([] {
    const SizeClass c = size_class(9);
    std::vector<void*> held(20'000);
    testing::Random random(3);
    const auto deposits = [&] { return std::uint64_t{NodeHeap::facts_of_all(c).deposits}; };
    const auto flushes = [&] { return std::uint64_t{NodeHeap::facts_of_all(c).flushes}; };
    for (const bool in_order : {true, false, true}) {
      for (void*& slot : held) slot = heap::allocate(slot_size(c));
      if (in_order) std::ranges::sort(held);
      else
        for (std::size_t i = held.size(); i > 1; --i) std::swap(held[i - 1], held[random.below(i)]);
      const std::uint64_t deposits_before = deposits();
      const std::uint64_t flushes_before = flushes();
      for (void* const slot : held) heap::deallocate(slot, "free");
      if (in_order) {
        EXPECT_EQ(deposits(), deposits_before);
        EXPECT_GT(flushes(), flushes_before);
      } else {
        EXPECT_GT(deposits(), deposits_before);
      }
    }
  }).join();
  EXPECT_EQ(testing::inconsistency(), "");
}

// As buffers that grow: what each size leaves serves the next one. At most a fifth more than what lives, however often.
TEST(ThreadHeap, WhatMovesThroughTheSizesTakesLittleMore) {
  testing::start_heap();
  heap::trim();
  std::thread([] {
    constexpr std::size_t kLast = 5 * kKiB;
    std::vector<void*> objects(1'000, nullptr);
    const std::uint64_t before = process_account.committed();
    for (int round = 1; round <= 20; ++round) {
      std::uint64_t most = 0;
      for (const std::size_t size : {16ul, 36ul, 80ul, 180ul, 400ul, 600ul, 900ul, 1'350ul, 2'300ul, 3'200ul, kLast}) {
        for (void*& object : objects) {
          void* const smaller = std::exchange(object, heap::allocate(size));
          if (smaller != nullptr) heap::deallocate(smaller, "free");
        }
        if (most < process_account.committed()) most = process_account.committed();
      }
      EXPECT_LE(most - before, objects.size() * kLast / 5 * 6) << "round " << round;
      for (void*& object : objects) heap::deallocate(std::exchange(object, nullptr), "free");
    }
  }).join();
  EXPECT_EQ(testing::live(), testing::Live{});
}

TEST(ThreadHeap, ReclaimReachesOtherThreads) {
  testing::start_heap();
  heap::deallocate(heap::allocate(16), "free");  // so that this thread has a heap
  std::atomic<int> stage{0};
  std::thread other([&] {
    std::vector<void*> held;
    for (int n = 0; n < 100; ++n) held.push_back(heap::allocate(96));
    void* const last = held.back();
    held.pop_back();
    for (void* const slot : held) heap::deallocate(slot, "free");
    stage = 1;
    while (stage != 2) std::this_thread::yield();
    heap::deallocate(last, "free");
    stage = 3;
    while (stage != 4) std::this_thread::yield();
  });
  while (stage != 1) std::this_thread::yield();
  const SizeClass c = size_class(class_index_for(96));
  EXPECT_GT(thread_heap::pool_facts(c).pooled, 1u);
  {
    const SlowPath slow;
    thread_heap::flush_all(*current.heap);  // what earlier tests left in this thread's pools
    thread_heap::ask_others_to_flush();
  }
  stage = 2;
  while (stage != 3) std::this_thread::yield();
  EXPECT_LE(thread_heap::pool_facts(c).pooled, 1u) << "its next free has flushed the rest";
  stage = 4;
  other.join();
  EXPECT_EQ(testing::inconsistency(), "");
}

}  // namespace
}  // namespace nebula
