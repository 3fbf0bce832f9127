// The budget as a program meets it: through allocate and free.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "budget/size_limits.hpp"
#include "heap/heap.hpp"
#include "heap/reclaim.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

class Limit {
 public:
  explicit Limit(std::uint64_t more) {
    testing::start_heap();
    heap::trim();
    bytes = process_account.committed() + more;
    process_account.set_limits(bytes, kNoLimit);
  }
  ~Limit() { process_account.set_limits(kNoLimit, kNoLimit); }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;

  std::uint64_t bytes = 0;
};

bool is_refusal(const heap::BudgetEvent& event) {
  using What = heap::BudgetEvent::What;
  return event.what == What::kFirstRefusal || event.what == What::kRefusal;
}

struct Filled {
  std::vector<void*> objects;
  bool stayed_below = true;
};

template <class Size>
Filled allocate_until_null(const Limit& limit, Size size) {
  Filled filled;
  for (;;) {
    void* const object = heap::allocate(size());
    if (process_account.committed() > limit.bytes) filled.stayed_below = false;
    if (object == nullptr) return filled;
    *static_cast<char*>(object) = 1;
    filled.objects.push_back(object);
  }
}

void free_all(const std::vector<void*>& objects) {
  for (void* const object : objects) heap::deallocate(object, "free");
}

TEST(Budget, EveryByteCanBeUsedAndNoneMore) {
  constexpr std::uint64_t kMore = 24 * kMiB;
  for (const std::size_t size : {std::size_t{16}, std::size_t{200}, std::size_t{3000}, 32 * kKiB, 100 * kKiB, 2 * kMiB}) {
    const Limit limit(kMore);
    std::size_t first = 0;
    for (int round = 0; round < 3; ++round) {
      const Filled filled = allocate_until_null(limit, [size] { return size; });
      EXPECT_TRUE(filled.stayed_below) << size;
      EXPECT_LE(process_account.peak(), limit.bytes);
      const std::uint64_t used = filled.objects.size() * heap::usable_size(filled.objects.front());
      EXPECT_GE(used, kMore * 8 / 10) << "objects of " << size << ", round " << round;
      if (round == 0) first = filled.objects.size();
      EXPECT_GE(filled.objects.size() + filled.objects.size() / 50, first) << "less room than at first: " << size;
      free_all(filled.objects);
      EXPECT_EQ(testing::live(), testing::Live{});
      EXPECT_EQ(testing::inconsistency(), "");
    }
  }
}

// A large object is committed to the page, but its last unit may be dirty behind it, from what was there before.
TEST(Budget, EndsOfLargeObjectsAreReclaimedBeforeARefusal) {
  constexpr std::size_t kSize = 68 * kKiB;  // two units, fifteen pages of them left over
  const Limit limit(16 * kMiB);
  void* const before = heap::allocate(15 * kMiB);
  ASSERT_NE(before, nullptr);
  heap::deallocate(before, "free");
  const Filled filled = allocate_until_null(limit, [] { return kSize; });
  EXPECT_TRUE(filled.stayed_below);
  EXPECT_GE(filled.objects.size() * kSize, 15 * kMiB);
  free_all(filled.objects);
  EXPECT_EQ(testing::live(), testing::Live{});
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Budget, MemoryOfOneSizeBecomesMemoryOfAnother) {
  const Limit limit(16 * kMiB);
  for (const std::size_t size : {std::size_t{64}, 2 * kMiB, std::size_t{1000}, 32 * kKiB, std::size_t{16}, 500 * kKiB}) {
    const Filled filled = allocate_until_null(limit, [size] { return size; });
    EXPECT_TRUE(filled.stayed_below);
    EXPECT_GE(filled.objects.size() * size, 10 * kMiB) << size;
    free_all(filled.objects);
  }
  EXPECT_EQ(testing::live(), testing::Live{});
}

TEST(Budget, ReallocThatIsRefusedLeavesTheObject) {
  const Limit limit(8 * kMiB);
  for (const std::size_t size : {100 * kKiB, 2 * kMiB, std::size_t{5000}}) {
    void* const object = heap::allocate(size);
    ASSERT_NE(object, nullptr);
    testing::fill(object, size);
    EXPECT_EQ(heap::reallocate(object, 20 * kMiB), nullptr);
    EXPECT_TRUE(testing::is_filled(object, size));
    heap::deallocate(object, "free");
  }
  EXPECT_EQ(testing::inconsistency(), "");
}

// Refusals that repeat leave neither addresses nor metadata behind.
TEST(Budget, RefusedLargeRequestsCostNothing) {
  for (const std::size_t size : {3 * kMiB, 7 * kMiB, 100 * kMiB, 4 * kGiB, std::size_t{1} << 46}) {
    const Limit limit(8 * kMiB);
    const Filled filled = allocate_until_null(limit, [] { return std::size_t{64}; });
    EXPECT_EQ(heap::allocate(size), nullptr);
    const std::uint64_t mapped = pages::mapped_bytes();
    const std::uint64_t metadata = pages::metadata_bytes();
    for (int i = 0; i < 300; ++i) ASSERT_EQ(heap::allocate(size), nullptr);
    EXPECT_EQ(pages::mapped_bytes(), mapped) << size;
    EXPECT_EQ(pages::metadata_bytes(), metadata) << size;
    free_all(filled.objects);
    EXPECT_EQ(testing::inconsistency(), "");
  }
  void* const object = heap::allocate_aligned(kMiB, 128 * kMiB);
  EXPECT_NE(object, nullptr) << "the address range is used up";
  heap::deallocate(object, "free");
}

TEST(Budget, ReallocReclaimsBeforeItFails) {
  const Limit limit(64 * kMiB);
  void* const object = heap::allocate(40 * kMiB);
  void* const neighbour = heap::allocate(100 * kKiB);
  void* const dirty = heap::allocate(18 * kMiB);
  void* const second_neighbour = heap::allocate(100 * kKiB);
  heap::deallocate(dirty, "free");
  testing::fill(object, 4096);
  const std::uint64_t key = reinterpret_cast<Address>(object) ^ 4096;
  void* const grown = heap::reallocate(object, 50 * kMiB);
  ASSERT_NE(grown, nullptr);
  EXPECT_TRUE(testing::is_filled_as(grown, 4096, key));
  for (void* const each : {grown, neighbour, second_neighbour}) heap::deallocate(each, "free");
  EXPECT_EQ(testing::live(), testing::Live{});
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Budget, ShrinkingIsNeverRefused) {
  static int refusals_heard = 0;
  const Limit limit(16 * kMiB);
  void* const large = heap::allocate(4 * kMiB);
  void* const small = heap::allocate(30'000);
  testing::fill_as(large, 10'000, 1);
  testing::fill_as(small, 1000, 2);
  const Filled filled = allocate_until_null(limit, [] { return 32 * kKiB; });
  const Filled rest = allocate_until_null(limit, [] { return std::size_t{16}; });
  heap::set_budget_listener([](const heap::BudgetEvent& event) { refusals_heard += is_refusal(event); });
  const std::uint64_t refusals = process_account.refusals();
  void* const shrunk_large = heap::reallocate(large, 10'000);
  void* const shrunk_small = heap::reallocate(small, 1000);
  heap::set_budget_listener(nullptr);
  ASSERT_NE(shrunk_large, nullptr);
  ASSERT_NE(shrunk_small, nullptr);
  EXPECT_TRUE(testing::is_filled_as(shrunk_large, 10'000, 1));
  EXPECT_TRUE(testing::is_filled_as(shrunk_small, 1000, 2));
  EXPECT_EQ(refusals_heard, 0);
  EXPECT_EQ(process_account.refusals(), refusals);
  free_all(filled.objects);
  free_all(rest.objects);
  heap::deallocate(shrunk_large, "free");
  heap::deallocate(shrunk_small, "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Budget, EightThreadsAtTheLimit) {
  const Limit limit(32 * kMiB);
  for (int round = 0; round < 3; ++round) {
    std::vector<Filled> filled(8);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < filled.size(); ++t) {
      threads.emplace_back([&, t] {
        testing::Random random(t);
        filled[t] = allocate_until_null(limit, [&] { return random.size() / 4 + 1; });
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_LE(process_account.committed(), limit.bytes);
    std::size_t objects = 0;
    for (const Filled& each : filled) {
      EXPECT_TRUE(each.stayed_below);
      objects += each.objects.size();
    }
    EXPECT_EQ(testing::live().objects, objects);
    EXPECT_EQ(testing::inconsistency(), "");
    // Freed by other threads than those that allocated.
    std::vector<std::thread> others;
    for (unsigned t = 0; t < filled.size(); ++t) others.emplace_back([&, t] { free_all(filled[(t + 1) % 8].objects); });
    for (std::thread& thread : others) thread.join();
    EXPECT_EQ(testing::live(), testing::Live{});
    EXPECT_EQ(testing::inconsistency(), "");
  }
}

TEST(Budget, TheListenerHearsTheSizeOfARefusal) {
  static std::size_t heard = 0;
  const Limit limit(4 * kMiB);
  heap::set_budget_listener([](const heap::BudgetEvent& event) {
    if (is_refusal(event)) heard = event.requested_bytes;
  });
  EXPECT_EQ(heap::allocate(10 * kMiB), nullptr);
  EXPECT_EQ(heard, 10 * kMiB);
  const Filled filled = allocate_until_null(limit, [] { return std::size_t{29'999}; });
  EXPECT_EQ(heard, 29'999u) << "what was asked for, not the slot";
  heard = 0;
  process_account.set_limits(std::uint64_t{1} << 50, kNoLimit);
  EXPECT_EQ(heap::allocate(std::size_t{1} << 45), nullptr);
  EXPECT_EQ(heard, 0u) << "the system's refusal is not the budget's";
  heap::set_budget_listener(nullptr);
  free_all(filled.objects);
}

TEST(Budget, SoftLimitBringsFreeMemoryBack) {
  testing::start_heap();
  heap::trim();
  const std::uint64_t soft = process_account.committed() + 4 * kMiB;
  process_account.set_limits(kNoLimit, soft);
  std::vector<void*> held;
  for (int i = 0; i < 16; ++i) {
    held.push_back(heap::allocate(kMiB));
    ASSERT_NE(held.back(), nullptr) << "a soft limit refuses nothing";
  }
  free_all(held);
  // Each free is a chance; the work cap may let some of them go.
  for (int i = 0; i < 2000 && process_account.is_over_soft_limit(); ++i) heap::deallocate(heap::allocate(50 * kKiB), "free");
  EXPECT_FALSE(process_account.is_over_soft_limit());
  EXPECT_GT(heap::reclaim_facts().soft_crossings, 0u);
  process_account.set_limits(kNoLimit, kNoLimit);
}

// Objects of a range of sizes up to their limit and not one more, while every other size goes on.
class SizeLimits {
 public:
  explicit SizeLimits(std::vector<config::SizeLimit> limits) {
    testing::start_heap();
    heap::trim();
    size_limits::set(limits, {});
  }
  ~SizeLimits() {
    heap::trim();
    for (const Account& account : size_limits::accounts()) EXPECT_EQ(account.committed(), 0u) << "a charge is left behind";
    size_limits::set({}, {});
  }
  SizeLimits(const SizeLimits&) = delete;
  SizeLimits& operator=(const SizeLimits&) = delete;
};

TEST(Budget, ASizeHasALimitOfItsOwn) {
  const SizeLimits limits({{1000, 1100, 100'000}, {kMiB, ~std::uint64_t{0}, 10 * kMiB}});
  for (int round = 0; round < 3; ++round) {
    std::vector<void*> held;
    while (void* const object = heap::allocate(1024)) held.push_back(object);
    EXPECT_EQ(held.size(), 100'000u / 1024);
    EXPECT_LE(size_limits::accounts()[0].committed(), 100'000u);
    for (const std::size_t other : {std::size_t{900}, std::size_t{1200}, 100 * kKiB}) {
      void* const object = heap::allocate(other);
      EXPECT_NE(object, nullptr) << other;
      heap::deallocate(object, "free");
    }
    free_all(held);
    held.clear();
    while (void* const object = heap::allocate(kMiB + 1)) held.push_back(object);
    EXPECT_EQ(held.size(), 9u) << "of a mebibyte and a page each";
    EXPECT_EQ(heap::reallocate(held.front(), 3 * kMiB), nullptr);
    void* const shrunk = heap::reallocate(held.front(), 500 * kKiB);
    ASSERT_NE(shrunk, nullptr);
    held.front() = shrunk;
    void* const grown = heap::allocate(kMiB);
    EXPECT_NE(grown, nullptr) << "what left the range left room";
    held.push_back(grown);
    free_all(held);
    EXPECT_EQ(testing::live(), testing::Live{});
    EXPECT_EQ(testing::inconsistency(), "");
  }
}

TEST(Budget, AnObjectThatMayNotBecomeOfALimitedSizeKeepsItsPages) {
  const SizeLimits limits({{100 * kKiB, 300 * kKiB, 100 * kKiB}});
  void* const object = heap::allocate(kMiB);
  testing::fill(object, 200 * kKiB);
  EXPECT_EQ(heap::reallocate(object, 200 * kKiB), object);
  EXPECT_EQ(heap::usable_size(object), kMiB);
  EXPECT_TRUE(testing::is_filled(object, 200 * kKiB));
  heap::deallocate(object, "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

// Whether the smaller size has room changes at every moment: the object keeps its pages, or has fewer of them, and never writes
// beyond those.
TEST(Budget, ShrinkingBesideOthersAtTheLimitOfTheSmallerSize) {
  constexpr std::size_t kLarge = kMiB;
  constexpr std::size_t kSmaller = 160 * kKiB;
  const SizeLimits limits({{100 * kKiB, 300 * kKiB, kSmaller}});
  std::atomic<bool> go_on{true};
  std::thread other([&] {
    while (go_on) heap::deallocate(heap::allocate(kSmaller), "free");
  });
  unsigned kept = 0;
  unsigned shrunk = 0;
  unsigned wrong = 0;
  // Until both were met: on a busy machine the other thread may not run at all for as long as 20,000 rounds take.
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  for (int round = 0; round < 20'000 || ((kept == 0 || shrunk == 0) && std::chrono::steady_clock::now() < end); ++round) {
    void* const object = heap::allocate(kLarge);
    testing::fill(object, 4 * kKiB);
    void* const resized = heap::reallocate(object, kSmaller);
    const std::size_t now = heap::usable_size(resized);
    if (now == kLarge) ++kept;
    else if (now == kSmaller) ++shrunk;
    if (resized != object || !testing::is_filled(object, 4 * kKiB)) ++wrong;
    heap::deallocate(resized, "free");
  }
  go_on = false;
  other.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_NE(kept, 0u);
  EXPECT_NE(shrunk, 0u);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(Budget, SizeLimitsHoldAgainstEightThreads) {
  constexpr std::uint64_t kMost = 2 * kMiB;
  const SizeLimits limits({{64, 64, kMost}});
  const std::uint64_t refusals_before = size_limits::accounts()[0].refusals();
  std::atomic<std::uint64_t> objects{0};
  std::atomic<bool> go_on{true};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      std::vector<void*> held;
      while (void* const object = heap::allocate(64)) held.push_back(object);
      objects += held.size();
      while (go_on) std::this_thread::yield();
      free_all(held);
      heap::flush_this_thread();
    });
  }
  while (size_limits::accounts()[0].refusals() < refusals_before + 8) std::this_thread::yield();
  EXPECT_LE(size_limits::accounts()[0].committed(), kMost);
  go_on = false;
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(objects.load(), kMost / 64);
  EXPECT_GE(objects.load(), kMost / 64 / 2) << size_limits::accounts()[0].committed();
}

TEST(Budget, WaitingIsForWhatOthersFree) {
  const Limit limit(8 * kMiB);
  process_account.set_at_limit({config::BudgetAction::kWait, 10'000});
  void* const held = heap::allocate(6 * kMiB);
  ASSERT_NE(held, nullptr);
  std::thread other([held] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    heap::deallocate(held, "free");
  });
  void* const object = heap::allocate(6 * kMiB);
  EXPECT_NE(object, nullptr);
  other.join();
  EXPECT_EQ(process_account.waits(), 1u);
  heap::deallocate(object, "free");
  process_account.set_at_limit({});
}

// At the limit dirty pages go back down to 95 % of it, not all of them.
TEST(Budget, ReclaimStopsComfortablyBelowTheLimit) {
  const Limit limit(100 * kMiB);
  std::vector<void*> held;
  for (int i = 0; i < 80; ++i) held.push_back(heap::allocate(kMiB));
  for (std::size_t i = 0; i < held.size(); ++i)
    if (i % 2 == 0) heap::deallocate(held[i], "free");
  const std::uint64_t purged = pages::purge_counts().purged_bytes;
  void* const object = heap::allocate(30 * kMiB);
  ASSERT_NE(object, nullptr);
  EXPECT_GT(pages::purge_counts().purged_bytes, purged);
  EXPECT_LE(pages::purge_counts().purged_bytes - purged, (30 + 5 + 2) * kMiB);
  heap::deallocate(object, "free");
  for (std::size_t i = 1; i < held.size(); i += 2) heap::deallocate(held[i], "free");
  EXPECT_EQ(testing::inconsistency(), "");
}

}  // namespace
}  // namespace nebula
