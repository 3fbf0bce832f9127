// The budget as a program meets it: through allocate and free.

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "heap/heap.hpp"
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

TEST(Budget, TheRefusalHandlerHearsTheSize) {
  static std::size_t heard = 0;
  const Limit limit(4 * kMiB);
  heap::set_refusal_handler([](std::size_t bytes) { heard = bytes; });
  EXPECT_EQ(heap::allocate(10 * kMiB), nullptr);
  heap::set_refusal_handler(nullptr);
  EXPECT_EQ(heard, 10 * kMiB);
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
  EXPECT_GT(heap::facts().soft_crossings, 0u);
  process_account.set_limits(kNoLimit, kNoLimit);
}

}  // namespace
}  // namespace nebula
