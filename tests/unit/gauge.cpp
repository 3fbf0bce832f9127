#include "budget/gauge.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "base/fast_load.hpp"
#include "base/units.hpp"

namespace nebula {
namespace {

struct OwnGauge {
  Gauge::Part parts[Gauge::kPartsMost];
  Gauge gauge{parts};

  // By steps so large that nothing is worth sharing.
  void rise_and_fall(unsigned count, std::uint64_t peak, std::uint64_t value) {
    gauge.set_parts(count);
    gauge.add(peak, 0);
    gauge.subtract(peak - value, 0);
    ASSERT_FALSE(gauge.is_split());
  }
  // So small and so many that what lies below the peak is worth it.
  void take_small_steps() {
    for (unsigned i = 0; i < 20'000 && !gauge.is_split(); ++i) {
      gauge.add(16, 0);
      gauge.subtract(16, 0);
    }
    ASSERT_TRUE(gauge.is_split());
  }
};

TEST(Gauge, RemembersItsPeak) {
  OwnGauge own;
  own.gauge.add(5, 0);
  own.gauge.add(7, 0);
  own.gauge.subtract(10, 0);
  own.gauge.add(1, 0);
  EXPECT_EQ(own.gauge.value(), 3u);
  EXPECT_EQ(own.gauge.peak(), 12u);
}

// What a plain sum and its highest value say, after every step, over amounts from a slot to what is split at once.
TEST(Gauge, IsAsAPlainSumInAnyParts) {
  for (const unsigned count : {1u, 2u, 3u, 8u}) {
    OwnGauge own;
    own.gauge.set_parts(count);
    std::mt19937_64 random(count);
    std::vector<std::uint64_t> held;
    std::uint64_t value = 0;
    std::uint64_t peak = 0;
    unsigned turns = 0;
    bool was_split = false;
    for (unsigned step = 0; step < 200'000; ++step) {
      const auto part = static_cast<unsigned>(random() % count);
      // Long rises and falls, so that it is whole, split and dry in turn.
      const bool falls = step / 5'000 % 2 == 1;
      if (!held.empty() && random() % 8 < (falls ? 5 : 3)) {
        const std::size_t which = random() % held.size();
        value -= held[which];
        own.gauge.subtract(held[which], part);
        held[which] = held.back();
        held.pop_back();
      } else {
        const std::uint64_t amount = std::uint64_t{16} << random() % 15;
        held.push_back(amount);
        value += amount;
        own.gauge.add(amount, part);
      }
      peak = std::max(peak, value);
      ASSERT_EQ(own.gauge.value(), value) << count << " parts, step " << step;
      ASSERT_EQ(own.gauge.peak(), peak) << count << " parts, step " << step;
      turns += own.gauge.is_split() != was_split ? 1 : 0;
      was_split = own.gauge.is_split();
    }
    EXPECT_GT(peak, 4 * kMiB);
    if (count == 1) EXPECT_EQ(turns, 0u);
    else EXPECT_GT(turns, 10u) << count << " parts";
  }
}

// A part that nobody has told of.
TEST(Gauge, TakesAnyPart) {
  OwnGauge own;
  own.rise_and_fall(2, 64 * kMiB, 4 * kMiB);
  own.take_small_steps();
  own.gauge.add(16, 7);
  own.gauge.subtract(16, 7);
  own.take_small_steps();  // more parts need more slack
  for (unsigned i = 0; i < 100; ++i) own.gauge.add(128 * kKiB, 7);
  for (unsigned i = 0; i < 100; ++i) own.gauge.subtract(128 * kKiB, 5);
  EXPECT_TRUE(own.gauge.is_split());
  EXPECT_EQ(own.gauge.value(), 4 * kMiB);
  EXPECT_EQ(own.gauge.peak(), 64 * kMiB);
  own.gauge.set_parts(8);
  own.gauge.add(kMiB, 3);
  own.gauge.subtract(kMiB, 6);
  EXPECT_EQ(own.gauge.value(), 4 * kMiB);
}

// What is left is shared by all: twenty steps are enough for two, not for eight.
TEST(Gauge, MorePartsNeedMoreSlack) {
  const auto splits = [](unsigned count, int steps) {
    OwnGauge own;
    own.gauge.set_parts(count);
    own.gauge.add(64 * kMiB, 0);
    for (int i = 0; i < steps; ++i) own.gauge.subtract(kMiB, 0);
    for (int i = 0; i < 2'000; ++i) {
      own.gauge.add(kMiB, 0);
      own.gauge.subtract(kMiB, 0);
    }
    return own.gauge.is_split();
  };
  EXPECT_TRUE(splits(2, 20));
  EXPECT_FALSE(splits(8, 20));
  EXPECT_TRUE(splits(8, 60));
}

// Who needs much of what is left, and who needs more, which is a new peak.
TEST(Gauge, IsWholeForLargeSteps) {
  OwnGauge own;
  own.rise_and_fall(4, 64 * kMiB, 0);
  own.take_small_steps();
  own.gauge.add(60 * kMiB, 1);
  EXPECT_FALSE(own.gauge.is_split());
  EXPECT_EQ(own.gauge.value(), 60 * kMiB);
  EXPECT_EQ(own.gauge.peak(), 64 * kMiB);
  own.gauge.add(5 * kMiB, 2);
  EXPECT_EQ(own.gauge.value(), 65 * kMiB);
  EXPECT_EQ(own.gauge.peak(), 65 * kMiB);
}

// In a fork handler of another library, whose thread holds all locks as it is.
TEST(Gauge, NoLockIsLeftByWhoHoldsThemAll) {
  OwnGauge own;
  own.rise_and_fall(2, 8 * kMiB, 0);
  holds_every_lock = true;
  own.take_small_steps();
  for (unsigned i = 0; i < 7 * 16; ++i) own.gauge.add(64 * kKiB, 1);
  holds_every_lock = false;
  own.gauge.add(512 * kKiB, 0);
  own.gauge.add(kMiB, 0);
  EXPECT_EQ(own.gauge.value(), 8 * kMiB + 512 * kKiB);
  EXPECT_EQ(own.gauge.peak(), 8 * kMiB + 512 * kKiB);
}

#if !defined(NEBULA_THREAD_SANITIZER)
// Forks that wait for nobody, beside threads that share out all the time.
TEST(Gauge, AChildHasNoLockOfAThreadThatIsNotThere) {
  OwnGauge own;
  own.rise_and_fall(2, 8 * kMiB, 2 * kMiB);
  own.take_small_steps();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < 2; ++index) {
    threads.emplace_back([&, index] {
      while (!stop.load()) {  // one part runs dry again and again
        own.gauge.add(16 * kKiB, index);
        own.gauge.subtract(16 * kKiB, 1 - index);
      }
    });
  }
  for (unsigned i = 0; i < 500; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(10);
      own.gauge.reset_in_child();
      const std::uint64_t before = own.gauge.value();
      for (unsigned step = 0; step < 16; ++step) own.gauge.add(kMiB, step % 2);
      for (unsigned step = 0; step < 16; ++step) own.gauge.subtract(kMiB, step % 2);
      ::_exit(own.gauge.value() == before && own.gauge.peak() >= before + 16 * kMiB ? 0 : 1);
    }
    int status = 1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "fork " << i;
    if (status != 0) break;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(own.gauge.value(), 2 * kMiB);
}
#endif

// Nobody can hold more than all tops together, and that was reached before there were threads.
TEST(Gauge, ThePeakIsNeverPassedByWhatIsShared) {
  constexpr unsigned kThreads = 4;
  constexpr std::uint64_t kAmount = 24 * kKiB;
  constexpr std::uint64_t kSteps = 200;
  OwnGauge own;
  own.gauge.set_parts(kThreads);
  for (unsigned i = 0; i < kThreads * kSteps; ++i) own.gauge.add(kAmount, i % kThreads);
  for (unsigned i = 0; i < kThreads * kSteps; ++i) own.gauge.subtract(kAmount, i % kThreads);
  ASSERT_EQ(own.gauge.peak(), kThreads * kSteps * kAmount);
  ASSERT_TRUE(own.gauge.is_split());
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < kThreads; ++index) {
    threads.emplace_back([&own, index] {
      for (unsigned round = 0; round < 200; ++round) {
        for (unsigned i = 0; i < kSteps; ++i) own.gauge.add(kAmount, (index + round) % kThreads);
        for (unsigned i = 0; i < kSteps; ++i) own.gauge.subtract(kAmount, (index + round / 3) % kThreads);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(own.gauge.value(), 0u);
  EXPECT_EQ(own.gauge.peak(), kThreads * kSteps * kAmount);
}

// All threads hold all at one time, each time more, and nobody more than that.
TEST(Gauge, AllThatWasHeldTogetherIsThePeak) {
  constexpr unsigned kThreads = 4;
  OwnGauge own;
  own.gauge.set_parts(kThreads);
  for (unsigned round = 0; round < 300; ++round) {
    const std::uint64_t amount = (round + 1) * 4 * kKiB;
    std::atomic<unsigned> at_top{0};
    std::vector<std::thread> threads;
    for (unsigned index = 0; index < kThreads; ++index) {
      threads.emplace_back([&, index] {
        for (unsigned i = 0; i < 16; ++i) own.gauge.add(amount / 16, index);
        at_top.fetch_add(1);
        while (at_top.load() < kThreads) std::this_thread::yield();  // all hold all
        for (unsigned i = 0; i < 16; ++i) own.gauge.subtract(amount / 16, (index + 1) % kThreads);
      });
    }
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(own.gauge.peak(), kThreads * amount);
    ASSERT_EQ(own.gauge.value(), 0u);
  }
}

}  // namespace
}  // namespace nebula
