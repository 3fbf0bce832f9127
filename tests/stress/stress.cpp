// Threads against each other. At the end of each test everything is freed, and the books must say so.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <deque>
#include <latch>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "heap/heap.hpp"
#include "lifecycle/lifecycle.hpp"
#include "support/heap_checks.hpp"
#include "node_heap/node_heap.hpp"
#include "pages/address_space.hpp"
#include "thread_heap/thread_heap.hpp"

#if defined(__SANITIZE_THREAD__)
#define NEBULA_TEST_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NEBULA_TEST_THREAD_SANITIZER 1
#endif
#endif

namespace nebula {
namespace {

#if defined(NEBULA_TEST_THREAD_SANITIZER)
constexpr bool kUnderThreadSanitizer = true;
#else
constexpr bool kUnderThreadSanitizer = false;
#endif

using Clock = std::chrono::steady_clock;
constexpr auto kDuration = std::chrono::seconds(8);
constexpr unsigned kThreads = 6;

struct Object {
  void* address;
  std::size_t size;
};

Object make(testing::Random& random) {
  const std::size_t size = random.size();
  void* const address = heap::allocate(size);
  if (address != nullptr) testing::fill(address, size);
  return {address, size};
}

// False when the contents have changed since make().
bool drop(const Object& object) {
  const bool good = object.address == nullptr || testing::is_filled(object.address, object.size);
  heap::deallocate(object.address, "free");
  return good;
}

// While it lives, classes move from route to route, if that is asked for.
class Moving {
 public:
  Moving() {
    if (!testing::classes_move()) return;
    thread_ = std::thread([this] {
      testing::Random random(17);
      while (!stop_.load(std::memory_order_relaxed)) {
        testing::move_a_class(random.next() >> 8);
        std::this_thread::sleep_for(std::chrono::microseconds(50));
      }
    });
  }
  ~Moving() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  Moving(const Moving&) = delete;
  Moving& operator=(const Moving&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class Shelf {
 public:
  void put(const Object& object) {
    const std::lock_guard guard(mutex_);
    objects_.push_back(object);
  }
  bool take(Object& object) {
    const std::lock_guard guard(mutex_);
    if (objects_.empty()) return false;
    object = objects_.front();
    objects_.pop_front();
    return true;
  }
  std::size_t size() {
    const std::lock_guard guard(mutex_);
    return objects_.size();
  }

 private:
  std::mutex mutex_;
  std::deque<Object> objects_;
};

void expect_all_is_free() {
  EXPECT_EQ(testing::live(), testing::Live{});
  EXPECT_EQ(testing::inconsistency(), "");
  heap::trim();
  EXPECT_EQ(testing::live(), testing::Live{});
  EXPECT_EQ(testing::inconsistency(), "");
}

// What a thread of the mixed tests does, for as long as `more` says.
template <class More>
bool churn(std::uint64_t seed, Shelf& shelf, More more) {
  testing::Random random(seed);
  std::vector<Object> held;
  bool good = true;
  while (more()) {
    const std::uint64_t choice = random.below(100);
    if (choice < 45 && held.size() < 500) {
      held.push_back(make(random));
    } else if (choice < 50) {
      shelf.put(make(random));
    } else if (choice < 55) {
      Object object;
      if (shelf.take(object)) good &= drop(object);
    } else if (choice < 60 && !held.empty()) {
      Object& object = held[random.below(held.size())];
      const std::size_t size = 1 + random.size();
      void* const moved = object.address == nullptr ? nullptr : heap::reallocate(object.address, size);
      if (moved != nullptr) {
        testing::fill(moved, size);
        object = {moved, size};
      }
    } else if (!held.empty()) {
      std::swap(held[random.below(held.size())], held.back());
      good &= drop(held.back());
      held.pop_back();
    }
    if (random.below(20'000) == 0) heap::trim();
  }
  for (const Object& object : held) good &= drop(object);
  return good;
}

TEST(Stress, ProducersAndConsumers) {
  Shelf shelf;
  std::atomic<bool> stop{false};
  std::atomic<bool> good{true};
  std::atomic<unsigned> producing{kThreads / 2};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads / 2; ++t) {
    threads.emplace_back([&, t] {
      testing::Random random(t);
      while (!stop.load(std::memory_order_relaxed)) {
        if (shelf.size() < 5000) shelf.put(make(random));
        else std::this_thread::yield();
      }
      --producing;
    });
    threads.emplace_back([&] {
      Object object;
      while (producing != 0 || shelf.size() != 0) {
        if (!shelf.take(object)) std::this_thread::yield();
        else if (!drop(object)) good = false;
      }
    });
  }
  std::this_thread::sleep_for(kDuration);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(good) << "an object has changed";
  expect_all_is_free();
}

TEST(Stress, ShortThreads) {
  constexpr unsigned kShortThreads = kUnderThreadSanitizer ? 2'000 : 10'000;
  constexpr unsigned kAtOnce = 8;
  Shelf shelf;
  std::atomic<bool> good{true};
  for (unsigned t = 0; t < kShortThreads; t += kAtOnce) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kAtOnce; ++i) {
      threads.emplace_back([&, seed = t + i] {
        testing::Random random(seed);
        for (int n = 0; n < 40; ++n) {
          const Object object = make(random);
          if (n % 4 == 0) shelf.put(object);
          else if (!drop(object)) good = false;
          Object other;
          if (n % 5 == 0 && shelf.take(other) && !drop(other)) good = false;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  Object object;
  while (shelf.take(object))
    if (!drop(object)) good = false;
  EXPECT_TRUE(good) << "an object has changed";
  const thread_heap::Facts facts = thread_heap::facts();
  EXPECT_GE(facts.threads_started, kShortThreads);
  EXPECT_LE(facts.heaps, 4 * kAtOnce) << "the heaps of threads that have ended are used again";
  EXPECT_LE(facts.threads_now, 1u);
  expect_all_is_free();
}

// What src/README.md says of many threads: metadata a thread, and how often one waits for a lock.
TEST(Stress, AThousandThreads) {
  constexpr unsigned kMany = kUnderThreadSanitizer ? 200 : 1'000;
  constexpr unsigned kSteps = 4'000;
  Shelf shelf;
  // Whoever waits sleeps: it neither takes time from those who work nor interrupts them.
  std::latch all_are_there{kMany};
  std::latch all_are_done{kMany};
  std::latch is_counted{1};
  std::atomic<bool> good{true};
  const std::uint64_t metadata_before = pages::metadata_bytes();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kMany; ++t) {
    threads.emplace_back([&, t] {
      testing::Random random(t);
      all_are_there.arrive_and_wait();
      std::array<Object, 32> own = {};
      for (unsigned n = 0; n < kSteps; ++n) {
        Object& object = own[random.below(own.size())];
        const std::size_t size = 16 + random.below(500);
        if (!drop(object)) good = false;
        object = {heap::allocate(size), size};
        if (object.address != nullptr) testing::fill(object.address, size);
        if (n % 16 != 0) continue;
        shelf.put(object);
        object = {};
        Object other;
        if (shelf.take(other) && !drop(other)) good = false;
      }
      for (const Object& object : own)
        if (!drop(object)) good = false;
      all_are_done.count_down();
      is_counted.wait();
    });
  }
  all_are_done.wait();
  std::uint64_t waits = 0;
  std::uint64_t trips = 0;
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const NodeHeap::ClassFacts facts = NodeHeap::facts_of_all(size_class(i));
    waits += facts.contended;
    trips += facts.refills + facts.flushes + facts.deposits + facts.withdrawals;
  }
  const std::uint64_t metadata = pages::metadata_bytes() - metadata_before;
  const std::uint64_t pooled = thread_heap::pooled_bytes_about();
  std::printf("%u threads: %llu bytes of metadata each, %llu in pools; %llu trips to node heaps, %llu waits for a lock\n", kMany,
              static_cast<unsigned long long>(metadata / kMany), static_cast<unsigned long long>(pooled / kMany),
              static_cast<unsigned long long>(trips), static_cast<unsigned long long>(waits));
  is_counted.count_down();
  for (std::thread& thread : threads) thread.join();
  Object object;
  while (shelf.take(object))
    if (!drop(object)) good = false;
  EXPECT_TRUE(good) << "an object has changed";
  EXPECT_LE(metadata / kMany, 64 * kKiB);
  EXPECT_LE(waits, trips / 20);
  expect_all_is_free();
}

// Children are born while other threads are in the middle of everything. Each must find a heap that works, that has lost
// nothing but what the threads that stayed behind hold, and that agrees with itself.
TEST(Stress, ForkStorm) {
  if (kUnderThreadSanitizer) GTEST_SKIP() << "a child of several threads cannot go on under ThreadSanitizer";
  Shelf shelf;
  std::atomic<bool> stop{false};
  std::atomic<bool> good{true};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      if (!churn(t, shelf, [&] { return !stop.load(std::memory_order_relaxed); })) good = false;
    });
  }
  const Clock::time_point end = Clock::now() + kDuration;
  unsigned children = 0;
  unsigned bad_children = 0;
  for (; Clock::now() < end; ++children) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(60);
      const testing::Live before = testing::live();
      testing::Random random(children);
      // Nothing of the C++ library's heap: under AddressSanitizer that is the sanitizer's, and with gcc 12 a lock of it
      // that another thread held at the fork is held in the child for ever.
      static std::array<Object, 300> held;
      for (Object& object : held) object = make(random);
      bool fine = true;
      for (const Object& object : held) fine &= drop(object);
      const testing::Live after = testing::live();
      const std::string wrong = testing::inconsistency();
      if (fine && after == before && wrong.empty()) _exit(0);
      std::fprintf(stderr, "child %u: contents %s; live %llu objects, %llu bytes, before %llu, %llu\n%s", children,
                   fine ? "good" : "changed", static_cast<unsigned long long>(after.objects),
                   static_cast<unsigned long long>(after.bytes), static_cast<unsigned long long>(before.objects),
                   static_cast<unsigned long long>(before.bytes), wrong.c_str());
      _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) ++bad_children;
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  Object object;
  while (shelf.take(object))
    if (!drop(object)) good = false;
  EXPECT_TRUE(good) << "an object has changed";
  EXPECT_EQ(bad_children, 0u) << "of " << children;
  EXPECT_GT(children, 10u);
  expect_all_is_free();
}

void mixed() {
  Shelf shelf;
  std::atomic<bool> good{true};
  const Clock::time_point end = Clock::now() + kDuration;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      // Threads that end and begin are part of the mixture.
      for (std::uint64_t round = 0; Clock::now() < end; ++round) {
        std::thread([&] {
          int left = 30'000;
          if (!churn(t * 1000 + round, shelf, [&] { return --left > 0 && (left % 256 != 0 || Clock::now() < end); }))
            good = false;
        }).join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Object object;
  while (shelf.take(object))
    if (!drop(object)) good = false;
  EXPECT_TRUE(good) << "an object has changed";
  expect_all_is_free();
}

TEST(Stress, Mixed) { mixed(); }

TEST(Stress, MixedUnderABudget) {
  heap::deallocate(heap::allocate(1), "free");
  const std::uint64_t peak_before = process_account.peak();
  const std::uint64_t limit = process_account.committed() + 16 * kMiB;
  process_account.set_limits(limit, limit - 2 * kMiB);
  mixed();
  EXPECT_LE(process_account.peak(), limit > peak_before ? limit : peak_before);
  EXPECT_GT(process_account.refusals(), 0u) << "the limit was never met: the test has tested nothing";
}

// Large objects are resized and replaced while another thread takes the ends of their last units away, again and again.
TEST(Stress, LargeObjectsBesideTrims) {
  std::atomic<bool> good{true};
  std::atomic<bool> stop{false};
  const Clock::time_point end = Clock::now() + kDuration / 2;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      testing::Random random(t);
      std::vector<Object> objects(16, Object{nullptr, 0});
      while (Clock::now() < end) {
        Object& object = objects[random.below(objects.size())];
        const std::size_t size = 33 * kKiB + random.below(400 * kKiB);
        if (object.address != nullptr && random.below(3) != 0) {
          const std::uint64_t key = reinterpret_cast<Address>(object.address) ^ object.size;
          void* const resized = heap::reallocate(object.address, size);
          if (!testing::is_filled_as(resized, size < object.size ? size : object.size, key)) good = false;
          object.address = resized;
        } else {
          if (!drop(object)) good = false;
          object.address = heap::allocate(size);
        }
        object.size = size;
        testing::fill(object.address, size);
      }
      for (const Object& object : objects)
        if (!drop(object)) good = false;
    });
  }
  std::thread trimming([&] {
    while (!stop) heap::trim();
  });
  for (std::thread& thread : threads) thread.join();
  stop = true;
  trimming.join();
  EXPECT_TRUE(good) << "an object has changed";
  expect_all_is_free();
}

}  // namespace
}  // namespace nebula

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  nebula::lifecycle::start(environ);
  nebula::testing::start_heap();  // what meson.build asks for beside the environment of a program
  const nebula::Moving moving;
  return RUN_ALL_TESTS();
}
