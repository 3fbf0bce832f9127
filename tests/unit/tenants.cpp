// Threads with accounts of their own, and nodes with limits, on pretended nodes: what each is charged, at its limit, and when
// somebody else frees it. Modules need a program with libraries: tests/integration.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "budget/heap_accounts.hpp"
#include "budget/thread_limits.hpp"
#include "heap/heap.hpp"
#include "node_heap/node_heap.hpp"
#include "node_heap/tenants.hpp"
#include "spans/large.hpp"
#include "support/heap_checks.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula {
namespace {

constexpr std::uint64_t kWorkerLimit = 2 * kMiB;
constexpr std::size_t kTooMuchToInherit = kWorkerLimit / 8 + 1;
constexpr unsigned kNodes = 2;

class Tenants : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    static constexpr config::NamedLimit kRules[] = {{"worker-*", kWorkerLimit}, {"tiny", 64 * kKiB}};
    testing::pretend_nodes(kNodes);
    testing::run_on_node(0);
    testing::start_heap();
    thread_limits::set(kRules, {});
    ASSERT_TRUE(heap::begin_tenants());
  }
  void TearDown() override {
    heap::flush_this_thread();
    EXPECT_EQ(testing::inconsistency(), "");
  }
};

void run_as(const char* name, const std::function<void()>& work) {
  std::thread([&] {
    pthread_setname_np(pthread_self(), name);
    testing::run_on_node(0);
    work();
  }).join();
}

Account& account_here() { return thread_limits::account(thread_heap::account_here()); }

unsigned heap_of(const void* object) { return NodeHeap::of(static_cast<UnitIndex>(unit_of(object))).id(); }

void free_all(std::vector<void*>& objects) {
  for (void* const object : objects) heap::deallocate(object, "free");
  objects.clear();
}

std::vector<void*> take_all(std::size_t size) {
  std::vector<void*> objects;
  while (void* const object = heap::allocate(size)) objects.push_back(object);
  return objects;
}

TEST_F(Tenants, AThreadHasItsLimitAndNotAByteMore) {
  for (const std::size_t size : {std::size_t{16}, std::size_t{1000}, std::size_t{20'000}, 100 * kKiB}) {
    run_as("worker-1", [size] {
      std::vector<void*> objects = take_all(size);
      EXPECT_LE(account_here().committed(), kWorkerLimit);
      EXPECT_GE(objects.size() * size, kWorkerLimit * 9 / 10) << size;
      EXPECT_GE(account_here().refusals(), 1u);
      EXPECT_LE(account_here().peak(), kWorkerLimit);
      void* const other = heap::allocate(3 * kMiB);
      EXPECT_EQ(other, nullptr);
      run_as("somebody", [] {
        EXPECT_EQ(thread_heap::account_here(), 0u);
        void* const object = heap::allocate(8 * kMiB);
        EXPECT_NE(object, nullptr) << "has no limit";
        heap::deallocate(object, "free");
      });
      free_all(objects);
      void* const again = heap::allocate(size);
      EXPECT_NE(again, nullptr) << "what was freed is free";
      heap::deallocate(again, "free");
    });
  }
}

TEST_F(Tenants, WhoeverFreesCreditsTheOneWhoAllocated) {
  std::vector<void*> objects;
  thread_limits::Id id = 0;
  run_as("worker-1", [&] {
    id = thread_heap::account_here();
    for (const std::size_t size : {16u, 100u, 1000u, 5000u, 40'000u, 300'000u})
      for (int i = 0; i < 3; ++i) objects.push_back(heap::allocate(size));
    id = thread_heap::account_here();
    for (void* const object : objects) EXPECT_EQ(heap_accounts::of(static_cast<HeapId>(heap_of(object))).thread, &account_here());
  });
  ASSERT_NE(id, 0u);
  EXPECT_TRUE(thread_limits::owner_of(id).has_ended);
  EXPECT_GE(thread_limits::account(id).committed(), 3u * 346'116);
  run_as("worker-2", [&] { free_all(objects); });
  heap::trim();
  EXPECT_EQ(thread_limits::account(id).committed(), 0u);
}

TEST_F(Tenants, AnAccountGoesToAnotherWhenNothingIsLeft) {
  run_as("worker-1", [] { heap::deallocate(heap::allocate(100), "free"); });
  const unsigned accounts = thread_limits::count();
  for (int i = 0; i < 50; ++i) {
    run_as("worker-again", [] {
      std::vector<void*> objects;
      for (const std::size_t size : {100u, 3000u, 50'000u}) objects.push_back(heap::allocate(size));
      EXPECT_STREQ(thread_limits::owner_of(thread_heap::account_here()).name, "worker-again");
      free_all(objects);
    });
  }
  EXPECT_EQ(thread_limits::count(), accounts);
  EXPECT_LE(NodeHeap::count(), kNodes + accounts * kNodes);
}

TEST_F(Tenants, TheNextByTheRuleGoesOnWithWhatAnEndedThreadLeft) {
  void* left = nullptr;
  thread_limits::Id id = 0;
  run_as("worker-first", [&] {
    left = heap::allocate(100);
    id = thread_heap::account_here();
  });
  const unsigned accounts = thread_limits::count();
  const std::uint64_t charged = thread_limits::account(id).committed();
  ASSERT_GT(charged, 0u);
  for (int i = 0; i < 50; ++i) {
    run_as("worker-next", [&] {
      void* const mine = heap::allocate(100);
      EXPECT_EQ(thread_heap::account_here(), id);
      EXPECT_EQ(heap_of(mine), heap_of(left));
      EXPECT_EQ(unit_of(mine), unit_of(left)) << "the slab that had room";
      EXPECT_EQ(thread_limits::owner_of(id).inherited_bytes, charged);
      EXPECT_EQ(account_here().committed(), charged);
      EXPECT_EQ(account_here().refusals(), 0u);
      heap::deallocate(mine, "free");
    });
  }
  EXPECT_EQ(thread_limits::count(), accounts);
  run_as("tiny", [&] { EXPECT_NE((heap::deallocate(heap::allocate(100), "free"), thread_heap::account_here()), id) << "another rule"; });
  heap::deallocate(left, "free");
}

TEST_F(Tenants, AnAccountThatTooMuchIsLeftOfStaysWithThat) {
  void* left = nullptr;
  thread_limits::Id id = 0;
  run_as("worker-first", [&] {
    left = heap::allocate(kTooMuchToInherit);
    id = thread_heap::account_here();
  });
  run_as("worker-next", [&] {
    heap::deallocate(heap::allocate(100), "free");
    EXPECT_NE(thread_heap::account_here(), id);
  });
  heap::deallocate(left, "free");
}

TEST_F(Tenants, AThreadThatIsRenamedAllocatesForItsNewName) {
  run_as("somebody", [] {
    void* const before = heap::allocate(100'000);
    EXPECT_EQ(heap_of(before), 0u);
    pthread_setname_np(pthread_self(), "tiny");
    thread_limits::names_set.fetch_add(1);  // as preload/threads.cpp does
    std::vector<void*> objects = take_all(1000);
    EXPECT_GE(objects.size(), 50u);
    EXPECT_LE(account_here().committed(), 64 * kKiB);
    EXPECT_EQ(account_here().hard_limit(), 64 * kKiB);
    free_all(objects);
    heap::deallocate(before, "free");
  });
}

TEST_F(Tenants, ResizingStaysWithinTheLimit) {
  run_as("worker-1", [] {
    void* object = heap::allocate(100 * kKiB);
    testing::fill(object, 100 * kKiB);
    object = heap::reallocate(object, kMiB);
    ASSERT_NE(object, nullptr);
    EXPECT_EQ(heap::reallocate(object, 3 * kMiB), nullptr);
    EXPECT_TRUE(heap_of(object) >= kNodes);
    object = heap::reallocate(object, 50);
    ASSERT_NE(object, nullptr);
    heap::deallocate(object, "free");
    heap::flush_this_thread();
    heap::trim();
    EXPECT_EQ(account_here().committed(), 0u);
  });
}

TEST_F(Tenants, AThreadOnAnotherNodeHasAHeapThere) {
  run_as("worker-1", [] {
    void* const here = heap::allocate(200'000);
    testing::run_on_node(1);
    void* const there = heap::allocate(200'000);
    EXPECT_NE(heap_of(here), heap_of(there));
    EXPECT_EQ(NodeHeap::at(static_cast<HeapId>(heap_of(there))).place(), 1u);
    EXPECT_GE(account_here().committed(), 400'000u) << "one account for both";
    heap::deallocate(here, "free");
    heap::deallocate(there, "free");
  });
}

// Random operations of eight threads, that free each other's objects: every account has what its heaps' pages are.
TEST_F(Tenants, AccountsAreExactHoweverThreadsExchangeObjects) {
  constexpr unsigned kThreads = 8;
  constexpr unsigned kSlots = 256;
  static std::atomic<void*> shelf[kSlots];
  for (int round = 0; round < 5; ++round) {
    std::atomic<bool> was_over{false};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        const std::string name = (t % 4 == 3 ? "other-" : "worker-") + std::to_string(t);
        pthread_setname_np(pthread_self(), name.c_str());
        testing::run_on_node(t % kNodes);
        testing::Random random(t + 100u * static_cast<unsigned>(round));
        for (int i = 0; i < 20'000; ++i) {
          void* const mine = heap::allocate(random.size() / 4);
          if (void* const old = shelf[random.below(kSlots)].exchange(mine)) heap::deallocate(old, "free");
          if (const thread_limits::Id id = thread_heap::account_here(); id != 0 && account_here().committed() > account_here().hard_limit())
            was_over = true;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_FALSE(was_over);
    EXPECT_EQ(testing::inconsistency(), "");
  }
  for (std::atomic<void*>& place : shelf) heap::deallocate_slow(place.exchange(nullptr), "free");
  heap::trim();
  for (unsigned id = 1; id <= thread_limits::count(); ++id)
    EXPECT_EQ(thread_limits::account(static_cast<thread_limits::Id>(id)).committed(), 0u) << id;
}

TEST_F(Tenants, AChildsOtherThreadsHaveEnded) {
  std::atomic<bool> go_on{true};
  std::atomic<unsigned> id{0};
  std::thread other([&] {
    pthread_setname_np(pthread_self(), "worker-9");
    void* const object = heap::allocate(1000);
    id = thread_heap::account_here();
    while (go_on) std::this_thread::yield();
    heap::deallocate(object, "free");
  });
  while (id == 0) std::this_thread::yield();
  thread_heap::lock_all();
  tenants::lock().lock();
  const pid_t child = fork();
  tenants::lock().unlock();
  thread_heap::unlock_all();
  if (child == 0) {
    thread_heap::adopt_after_fork();
    const bool has_ended = thread_limits::owner_of(static_cast<thread_limits::Id>(id.load())).has_ended;
    _exit(has_ended && testing::inconsistency().empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(thread_limits::owner_of(static_cast<thread_limits::Id>(id.load())).has_ended);
  go_on = false;
  other.join();
}

std::size_t unit_index(const void* object) { return static_cast<std::size_t>(unit_of(object)); }

// More heaps than Slab::seen_by has bits, so that several share one.
TEST_F(Tenants, ASlabIsShownToWhoeverFreesInItAndTakenFromAllWhenItEnds) {
  constexpr unsigned kWorkers = 70;
  constexpr SizeClass kClass = size_class(class_index_for(1000));
  std::vector<void*> shared(4 * kWorkers);
  run_as("somebody", [&] {
    for (void*& object : shared) object = heap::allocate(1000);
  });
  std::vector<void*> kept;
  std::vector<HeapId> homes;
  for (unsigned i = 0; i < kWorkers; ++i) {
    run_as("worker-1", [&] {
      kept.push_back(heap::allocate(kTooMuchToInherit));
      const HeapId home = current.heap->home;
      homes.push_back(home);
      void* const first = shared[4 * i];
      if (view_of(home)[unit_index(first)] == 0) {
        heap::deallocate_slow(first, "free");
        shared[4 * i] = nullptr;
      }
      EXPECT_EQ(view_of(home)[unit_index(first)], kAway + index_of(kClass));
      EXPECT_EQ(current.view, view_of(home));
      for (unsigned k = 0; k < 4; ++k) {
        void* const object = shared[4 * i + k];
        if (object == nullptr) continue;
        if (view_of(home)[unit_index(object)] == 0) {
          heap::deallocate_slow(object, "free");
        } else {
          EXPECT_TRUE(try_push(object)) << "no slow path for a slab that was shown";
        }
      }
    });
  }
  EXPECT_GE(NodeHeap::count(), kWorkers);
  EXPECT_EQ(testing::inconsistency(), "");
  heap::trim();
  run_as("somebody", [&] {
    for (void* const object : shared) {
      if (object == nullptr) continue;
      EXPECT_NE(unit_use(unit_index(object)), index_of(kClass)) << "all of its slabs have ended";
    }
  });
  for (const HeapId home : homes) {
    for (const void* const object : shared) {
      if (object == nullptr) continue;
      EXPECT_EQ(view_of(home)[unit_index(object)], 0u);
    }
  }
  free_all(kept);
}

// Last: it uses up all accounts there are.
TEST_F(Tenants, MoreThreadsThanAccountsAreServedWithoutAndCounted) {
  std::vector<void*> left;
  while (thread_limits::without() == 0 && left.size() < 2 * thread_limits::kAccountsMost)
    run_as("worker-left", [&] { left.push_back(heap::allocate(kTooMuchToInherit)); });
  EXPECT_EQ(thread_limits::count(), thread_limits::kAccountsMost);
  EXPECT_EQ(thread_limits::without(), 1u);
  EXPECT_EQ(testing::inconsistency(), "");
  run_as("worker-more", [] {
    EXPECT_EQ(thread_heap::account_here(), 0u);
    void* const object = heap::allocate(4 * kMiB);
    EXPECT_NE(object, nullptr);
    heap::deallocate(object, "free");
  });
  free_all(left);
  run_as("worker-again", [] { EXPECT_NE((heap::deallocate(heap::allocate(48), "free"), thread_heap::account_here()), 0u); });
}

}  // namespace
}  // namespace nebula
