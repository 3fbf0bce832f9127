#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "heap/heap.hpp"
#include "profiling/sites.hpp"
#include "profiling/stack.hpp"
#include "profiling/unwind_rule.hpp"
#include "support/heap_checks.hpp"

namespace nebula::profiling {
namespace {

// What all sites together say.
struct Totals {
  double objects = 0, bytes = 0, live_objects = 0, live_bytes = 0;
  std::uint64_t samples = 0;
};

Totals totals() {
  constexpr double kOne = 1 << kFractionBits;
  Totals sum;
  unsigned position = 0;
  while (const Site* const site = sites::next(position)) {
    const Sums all = site->allocated();
    const Sums live = site->live();
    sum.objects += static_cast<double>(all.weight.objects) / kOne;
    sum.bytes += static_cast<double>(all.weight.bytes) / kOne;
    sum.live_objects += static_cast<double>(live.weight.objects) / kOne;
    sum.live_bytes += static_cast<double>(live.weight.bytes) / kOne;
    sum.samples += all.samples;
  }
  return sum;
}

Totals operator-(const Totals& a, const Totals& b) {
  return {a.objects - b.objects, a.bytes - b.bytes, a.live_objects - b.live_objects, a.live_bytes - b.live_bytes,
          a.samples - b.samples};
}

class Profiling : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kPeriod = 16 * 1024;
  void SetUp() override {
    testing::start_heap();
    if (is_on()) return;
    ASSERT_TRUE(heap::begin_profile(kPeriod));
  }
};

TEST_F(Profiling, LogarithmAndExponentialAreExact) {
  for (double x = 1e-18; x < 1; x *= 1.37) EXPECT_NEAR(natural_logarithm(x), std::log(x), 1e-12 * std::abs(std::log(x)) + 1e-15) << x;
  for (double x = 1e-9; x < 60; x *= 1.07) EXPECT_NEAR(one_minus_exponential(x) / -std::expm1(-x), 1, 1e-12) << x;
}

// The distance to the next sample: its mean, its spread, and how often it is 1.
TEST_F(Profiling, DistancesAreGeometric) {
  std::uint64_t state = 1;
  for (const std::size_t size : {16ul, 1024ul, 8192ul, 32768ul}) {
    const double probability = -std::expm1(-static_cast<double>(size) / kPeriod);
    constexpr int kDraws = 200'000;
    double sum = 0;
    int ones = 0;
    for (int i = 0; i < kDraws; ++i) {
      const std::uint64_t distance = draw_distance(state, size);
      ASSERT_GE(distance, 1u);
      sum += static_cast<double>(distance);
      if (distance == 1) ++ones;
    }
    const double deviation = std::sqrt(1 - probability) / probability;  // of one draw
    EXPECT_NEAR(sum / kDraws, 1 / probability, 6 * deviation / std::sqrt(kDraws)) << size;
    EXPECT_NEAR(ones, kDraws * probability, 5 * std::sqrt(kDraws * probability * (1 - probability)) + 1) << size;
  }
}

TEST_F(Profiling, WeightsAreInverseProbabilities) {
  for (const std::size_t size : {16ul, 4096ul, 16384ul, 1ul << 20}) {
    const double probability = -std::expm1(-static_cast<double>(size) / kPeriod);
    const Weight weight = weight_of(size, kPeriod);
    EXPECT_NEAR(static_cast<double>(weight.objects) / 256, 1 / probability, 0.01) << size;
    EXPECT_NEAR(static_cast<double>(weight.bytes) / 256, static_cast<double>(size) / probability, 0.01) << size;
  }
}

TEST_F(Profiling, RulesSurvivePacking) {
  using Rule = UnwindRule;
  for (const Rule& rule : {Rule{Rule::Cfa::kUnknown, 0, Rule::FramePointer::kSame, 0},
                           Rule{Rule::Cfa::kStackPointer, 8, Rule::FramePointer::kSame, 0},
                           Rule{Rule::Cfa::kFramePointer, 16, Rule::FramePointer::kAtCfa, -16},
                           Rule{Rule::Cfa::kAtFramePointer, -8, Rule::FramePointer::kAtFramePointer, 0},
                           Rule{Rule::Cfa::kStackPointer, 1 << 20, Rule::FramePointer::kAtCfa, -(1 << 20)}}) {
    EXPECT_NE(rule.packed(), 0u);
    EXPECT_EQ(Rule::unpacked(rule.packed()), rule);
  }
  EXPECT_EQ(Rule::unpacked(Rule{Rule::Cfa::kStackPointer, 12, Rule::FramePointer::kSame, 0}.packed()).cfa, Rule::Cfa::kUnknown);
}

// Every function that libc's table knows has a rule at its first instruction: the return address lies at the stack pointer.
TEST_F(Profiling, FunctionsOfLibcHaveRulesAtTheirStart) {
  for (const char* name : {"qsort", "printf", "getaddrinfo", "strtod", "fopen", "regcomp", "malloc_info"}) {
    const auto code = reinterpret_cast<Address>(dlsym(RTLD_DEFAULT, name));
    ASSERT_NE(code, 0u) << name;
    dl_find_object object;
    ASSERT_EQ(_dl_find_object(reinterpret_cast<void*>(code), &object), 0);
    const UnwindRule rule = find_unwind_rule(reinterpret_cast<Address>(object.dlfo_eh_frame), code);
    EXPECT_EQ(rule, (UnwindRule{UnwindRule::Cfa::kStackPointer, 8, UnwindRule::FramePointer::kSame, 0})) << name;
  }
  EXPECT_EQ(find_unwind_rule(0, 0x1234).cfa, UnwindRule::Cfa::kUnknown);
}

// Every size, freed here or by another thread, resized, zeroed, aligned: the program sees no difference, and the books agree.
TEST_F(Profiling, SamplesAreObjectsLikeOthers) {
  std::vector<void*> objects;
  for (int round = 0; round < 40; ++round) {
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
      const std::size_t size = slot_size(size_class(i));
      void* const object = round % 3 == 0 ? heap::allocate_zeroed(size) : round % 3 == 1 ? heap::allocate(size) : heap::allocate_aligned(size, 64);
      ASSERT_NE(object, nullptr);
      EXPECT_EQ(heap::usable_size(object), slot_size(size_class(round % 3 == 2 ? class_index_for_aligned(size, 64) : i)));
      for (std::size_t at = 0; round % 3 == 0 && at < size; ++at) ASSERT_EQ(static_cast<char*>(object)[at], 0);
      testing::fill(object, size);
      EXPECT_TRUE(round % 3 == 2 || heap::reallocate(object, size - size / 4) == object) << size;
      void* const moved = heap::reallocate(object, size * 3);
      testing::fill(moved, size * 3);
      objects.push_back(moved);
    }
    EXPECT_EQ(testing::inconsistency(), "");
  }
  const Totals before = totals();
  std::thread([&objects] {
    for (void* const object : objects) heap::deallocate(object, "free");
  }).join();
  EXPECT_LT(totals().live_bytes, before.live_bytes / 2);
  heap::trim();
  EXPECT_EQ(testing::inconsistency(), "");
}

// The same object over and over, which ordinary pools would serve without ever looking further, and long runs of allocations, which go
// through refills: the estimates of both are right.
TEST_F(Profiling, EstimatesAreUnbiasedWhateverTheOrder) {
  constexpr int kObjects = 1'000'000;
  constexpr std::size_t kSize = 64;
  const double true_bytes = double{kObjects} * kSize;
  const double deviation = std::sqrt(true_bytes * kPeriod);  // of the estimate
  const Totals start = totals();
  for (int i = 0; i < kObjects; ++i) heap::deallocate(heap::allocate(kSize), "free");
  const Totals pairs = totals() - start;
  EXPECT_NEAR(pairs.bytes, true_bytes, 6 * deviation);
  EXPECT_NEAR(pairs.live_bytes, 0, 1);

  const Totals middle = totals();
  std::vector<void*> objects(kObjects);
  for (void*& object : objects) object = heap::allocate(kSize);
  const Totals run = totals() - middle;
  EXPECT_NEAR(run.bytes, true_bytes, 6 * deviation);
  EXPECT_NEAR(run.live_bytes, run.bytes, 1);
  for (void* const object : objects) heap::deallocate(object, "free");
  const Totals freed = totals() - middle;
  EXPECT_NEAR(freed.live_bytes, 0, 1);
}

// Of a class, the place in the order of its allocations says nothing about whether one is a sample.
TEST_F(Profiling, NoPlaceInTheOrderIsPreferred) {
  constexpr std::size_t kSize = 1024;
  constexpr int kPhases = 32;
  constexpr int kRounds = 4000;
  int seen[kPhases] = {};
  std::vector<void*> objects(kPhases);
  for (int round = 0; round < kRounds; ++round) {
    for (int phase = 0; phase < kPhases; ++phase) {
      const std::uint64_t before = sites::counts().samples;
      objects[static_cast<std::size_t>(phase)] = heap::allocate(kSize);
      seen[phase] += static_cast<int>(sites::counts().samples - before);
    }
    for (void* const object : objects) heap::deallocate(object, "free");
  }
  const double probability = -std::expm1(-static_cast<double>(kSize) / kPeriod);
  const double expected = kRounds * probability;
  double chi_squared = 0;
  for (const int count : seen) chi_squared += (count - expected) * (count - expected) / (expected * (1 - probability));
  // 32 degrees of freedom: above 110 once in some 10^10 runs.
  EXPECT_LT(chi_squared, 110);
}

// What a thread allocates and frees in turn stays with it, as without a profile: it is the slabs' only when pools have not grown yet.
TEST_F(Profiling, SwingsStayInThePools) {
  if (NodeHeap::count() != 1) GTEST_SKIP() << "with several node heaps, what is freed is on its way home";
  std::thread([] {
    void* objects[700];
    const auto swing = [&] {
      for (void*& object : objects) object = heap::allocate(96);
      for (void* const object : objects) heap::deallocate(object, "free");
    };
    for (int i = 0; i < 20; ++i) swing();
    const std::uint64_t refilled = NodeHeap::facts_of_all(size_class(6)).refills;
    const std::uint64_t flushed = NodeHeap::facts_of_all(size_class(6)).flushes;
    for (int i = 0; i < 200; ++i) swing();
    // Samples come from slabs of their own, and each takes the place of one that waits.
    EXPECT_LE(NodeHeap::facts_of_all(size_class(6)).flushes - flushed, 40u);
    EXPECT_LE(NodeHeap::facts_of_all(size_class(6)).refills - refilled, 40u);
  }).join();
}

TEST_F(Profiling, LargeObjectsAreFollowedThroughResizes) {
  const Totals start = totals();
  void* object = heap::allocate(512 << 10);
  for (std::size_t size = 512 << 10; size <= 64 << 20; size += size / 2) {
    object = heap::reallocate(object, size);
    const Totals now = totals() - start;
    // 32 periods and more are not overlooked; what is alive is the object as it is now.
    EXPECT_NEAR(now.live_bytes, static_cast<double>(pages_for(size).bytes()), static_cast<double>(size) / 10);
  }
  heap::deallocate(object, "free");
  EXPECT_NEAR((totals() - start).live_bytes, 0, 1);
}

TEST_F(Profiling, LivesAreSortedByLength) {
  EXPECT_EQ(sites::lifetime_of(0), 0u);
  EXPECT_EQ(sites::lifetime_of(999), 0u);
  EXPECT_EQ(sites::lifetime_of(1000), 1u);
  EXPECT_EQ(sites::lifetime_of(1'999), 1u);
  EXPECT_EQ(sites::lifetime_of(2'000), 2u);
  EXPECT_EQ(sites::lifetime_of(1'023'999), 10u);
  EXPECT_EQ(sites::lifetime_of(1'024'000), 11u);
  for (unsigned i = 0; i + 1 < sites::kLifetimes; ++i) {
    EXPECT_EQ(sites::lifetime_of(sites::lifetime_end_microseconds(i) * 1000 - 1), i);
    EXPECT_EQ(sites::lifetime_of(sites::lifetime_end_microseconds(i) * 1000), i + 1);
  }
  EXPECT_EQ(sites::lifetime_of(~std::uint64_t{0}), sites::kLifetimes - 1);
  const auto long_lives = [] {
    std::uint64_t sum = 0;
    for (unsigned i = 14; i < sites::kLifetimes; ++i) sum += sites::lifetimes(i).samples;
    return sum;
  };
  const std::uint64_t before = long_lives();
  void* const object = heap::allocate(1 << 20);
  usleep(20'000);
  heap::deallocate(object, "free");
  EXPECT_EQ(long_lives(), before + 1) << "it lived 20 milliseconds or a little more";
}

// The fit of a class: what was asked for, against what was given.
TEST_F(Profiling, RequestsAreRememberedByClass) {
  const unsigned c = class_index_for(100);
  const sites::Fit before = sites::fit(c);
  for (int i = 0; i < 100'000; ++i) heap::deallocate(heap::allocate(100), "free");
  const sites::Fit after = sites::fit(c);
  ASSERT_GT(after.samples, before.samples + 100);
  EXPECT_NEAR(static_cast<double>(after.requested_bytes - before.requested_bytes) / static_cast<double>(after.given_bytes - before.given_bytes),
              100.0 / 112, 1e-9);
}

}  // namespace
}  // namespace nebula::profiling
