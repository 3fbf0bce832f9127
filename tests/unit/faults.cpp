// A fixed workload, run once for each request it makes to the kernel, with that request refused. Nothing may be lost:
// every object keeps its contents and can be freed, and the books agree at the end. The heap is one per process, so
// each run is a child's; this process itself never starts the heap.

#include <errno.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "arena/arena.hpp"
#include "arena/object_heap.hpp"
#include "arena/pool.hpp"
#include "arena/stack.hpp"
#include "heap/heap.hpp"
#include "support/fault_system_call.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

struct Held {
  void* object;
  std::size_t size;
  std::uint64_t key;
};

// Contents: of large objects a page in each unit, which keeps what thousands of runs touch within bounds. Every byte is what the
// property tests look at.
constexpr std::size_t kWholeBytes = 32 * kKiB;

template <class Visitor>
bool for_each_part(std::size_t size, Visitor visit) {
  if (!visit(std::size_t{0}, size < kWholeBytes ? size : kWholeBytes)) return false;
  for (std::size_t at = kUnitSize; at < size; at += kUnitSize)
    if (!visit(at, size - at < kPageSize ? size - at : kPageSize)) return false;
  return true;
}

void mark(void* object, std::size_t size, std::uint64_t key) {
  for_each_part(size, [&](std::size_t at, std::size_t bytes) {
    testing::fill_as(static_cast<char*>(object) + at, bytes, key + at);
    return true;
  });
}

bool is_marked(const void* object, std::size_t size, std::uint64_t key) {
  return for_each_part(size, [&](std::size_t at, std::size_t bytes) {
    return testing::is_filled_as(static_cast<const char*>(object) + at, bytes, key + at);
  });
}

// One thread's part; what it holds at the end is in `held`. The words of the first failure, or empty.
class Workload {
 public:
  explicit Workload(std::uint64_t seed) : random_(seed) {}

  std::string run(int steps) {
    for (int i = 0; i < steps; ++i) {
      const std::uint64_t choice = random_.below(100);
      if (choice < 40) hold(random_.size(), Way::kPlain);
      else if (choice < 50) hold(random_.size(), Way::kZeroed);
      else if (choice < 58) hold(random_.size(), Way::kAligned);
      else if (choice < 70) resize();
      else if (choice < 99 || random_.below(4) != 0) drop();
      else heap::trim();
      if (!failure.empty()) return failure;
    }
    return failure;
  }

  void drop_all() {
    while (!held.empty()) drop();
  }

  std::vector<Held> held;
  std::string failure;

 private:
  enum class Way { kPlain, kZeroed, kAligned };

  void hold(std::size_t size, Way way) {
    const std::size_t alignment = way == Way::kAligned ? std::size_t{1} << random_.below(23) : 16;
    void* const object = way == Way::kPlain    ? heap::allocate(size)
                         : way == Way::kZeroed ? heap::allocate_zeroed(size)
                                               : heap::allocate_aligned(size, alignment);
    if (object == nullptr) return;
    if (reinterpret_cast<std::uintptr_t>(object) % alignment != 0) failure = "an object is not aligned";
    if (way == Way::kZeroed)
      for (std::size_t i = 0; i < size; ++i)
        if (static_cast<char*>(object)[i] != 0) failure = "zeroed memory is not zero";
    keep(object, size);
  }

  void keep(void* object, std::size_t size) {
    held.push_back({object, size, random_.next()});
    mark(object, size, held.back().key);
  }

  void resize() {
    if (held.empty()) return;
    Held& each = pick();
    const std::size_t size = 1 + (random_.below(4) == 0 ? random_.below(3 << 20) : random_.size());
    void* const moved = heap::reallocate(each.object, size);
    const std::size_t kept = moved == nullptr || each.size < size ? each.size : size;
    if (!is_marked(moved == nullptr ? each.object : moved, kept - kept % 8, each.key))
      failure = moved == nullptr ? "a refused realloc has changed the object" : "realloc has lost contents";
    if (moved == nullptr) return;
    each.object = moved;
    each.size = size;
    mark(moved, size, each.key);
  }

  void drop() {
    if (held.empty()) return;
    Held& each = pick();
    if (!is_marked(each.object, each.size, each.key)) failure = "an object has changed";
    heap::deallocate(each.object, "free");
    each = held.back();
    held.pop_back();
  }

  Held& pick() { return held[random_.below(held.size())]; }

  testing::Random random_;
};

// What a program has of arenas, heaps, pools and stacks: whatever is refused, what it has stays as it is, and their own counts say
// what it has.
class ArenaWorkload {
 public:
  std::string run() {
    for (int round = 0; round < 3 && failure_.empty(); ++round) {
      in_arena();
      in_heap();
      in_pool();
      in_stack();
    }
    return failure_;
  }

 private:
  static constexpr std::size_t kUnlimited = ~std::size_t{0};

  void expect(bool is_so, const char* otherwise) {
    if (!is_so && failure_.empty()) failure_ = otherwise;
  }

  void hold(void* object, std::size_t size) {
    if (object == nullptr) return;
    held_.push_back({object, size, random_.next()});
    mark(object, size, held_.back().key);
  }

  void expect_kept(const char* otherwise) {
    for (const Held& each : held_) expect(is_marked(each.object, each.size, each.key), otherwise);
  }

  [[nodiscard]] std::size_t some_size() { return random_.below(10) == 0 ? 1 + random_.below(3 << 20) : 1 + random_.below(20'000); }

  void hold_from(arena::Arena& arena) {
    const std::size_t size = some_size();
    hold(arena.allocate(size, std::size_t{1} << random_.below(13)), size);
  }

  void in_arena() {
    arena::Arena* const arena = arena::Arena::create(0, kUnlimited);
    if (arena == nullptr) return;
    for (int i = 0; i < 40; ++i) hold_from(*arena);
    const std::size_t count = held_.size();
    const arena::Checkpoint checkpoint = arena->checkpoint();
    for (int i = 0; i < 40; ++i) hold_from(*arena);
    expect(arena->usage().objects == held_.size(), "an arena has counted an object that was refused");
    expect_kept("an object of an arena has changed");
    expect(arena->restore(checkpoint) == arena::Arena::Restored::kDone, "a checkpoint was lost");
    held_.resize(count);
    expect(arena->usage().objects == count, "an arena has not forgotten what came after the checkpoint");
    const std::uint64_t held_bytes = arena->usage().held_bytes;
    if (arena->reserve(300'000)) {
      hold(arena->allocate(300'000, 16), 300'000);
      expect(held_.size() == count + 1, "what was reserved is not there");
    } else {
      expect(arena->usage().held_bytes <= held_bytes, "a refused reserve has taken something");
    }
    expect_kept("an object that a checkpoint kept has changed");
    arena->destroy();
    held_.clear();
  }

  void in_heap() {
    arena::ObjectHeap* const objects = arena::ObjectHeap::create(kUnlimited);
    if (objects == nullptr) return;
    for (int i = 0; i < 120; ++i) {
      const std::size_t size = some_size();
      if (held_.empty() || random_.below(3) != 0) {
        hold(objects->allocate(size, 16), size);
        continue;
      }
      Held& each = held_[random_.below(held_.size())];
      if (random_.below(2) == 0) {
        objects->free(each.object, "free");
        each = held_.back();
        held_.pop_back();
      } else if (void* const moved = objects->reallocate(each.object, size, "realloc"); moved != nullptr) {
        const std::size_t kept = size < each.size ? size : each.size;
        expect(is_marked(moved, kept - kept % 8, each.key), "a heap's realloc has lost contents");
        each = {moved, size, each.key};
        mark(moved, size, each.key);
      }
    }
    expect(objects->usage().objects == held_.size(), "a heap has counted an object that was refused");
    expect_kept("an object of a heap has changed");
    objects->destroy();
    held_.clear();
  }

  void in_pool() {
    arena::Pool* const pool = arena::Pool::create(5000, 64, kUnlimited);
    if (pool == nullptr) return;
    for (int i = 0; i < 150; ++i) hold(pool->allocate(), 5000);
    expect(pool->usage().objects == held_.size(), "a pool has counted an object that was refused");
    expect_kept("an object of a pool has changed");
    for (const Held& each : held_) pool->free(each.object, "free");
    expect(pool->usage().objects == 0, "a pool has lost an object");
    held_.clear();
    pool->destroy();
  }

  void in_stack() {
    arena::Stack* const stack = arena::Stack::create(400'000);
    if (stack == nullptr) return;
    arena::Frame frame;
    expect(stack->begin_frame(frame), "a stack that is there is full");
    for (int i = 0; i < 10; ++i) hold(stack->allocate(30'000, 16), 30'000);
    expect(held_.size() == 10, "a stack that is there asks somebody for memory");
    expect_kept("an object of a stack has changed");
    expect(stack->end_frame(frame) == arena::Stack::Ended::kDone, "a frame was lost");
    held_.clear();
    stack->destroy();
  }

  testing::Random random_{7};
  std::vector<Held> held_;
  std::string failure_;
};

// What a child has to say, in memory shared with its parent.
struct Answer {
  long requests;
  char words[2000];
};

std::string workload() {
  testing::start_heap();
  Workload main(1);
  if (std::string failure = main.run(800); !failure.empty()) return failure;
  // Threads come and go one after the other, so that the requests come in the same order each time. What one leaves
  // is freed by this one.
  std::vector<Held> left;
  for (unsigned t = 0; t < 4; ++t) {
    std::string failure;
    std::thread([&] {
      Workload other(t + 2);
      failure = other.run(160);
      left.insert(left.end(), other.held.begin(), other.held.end());
    }).join();
    if (!failure.empty()) return failure;
  }
  std::uint64_t objects = main.held.size() + left.size();
  if (testing::live().objects != objects)
    return "live objects: " + std::to_string(testing::live().objects) + ", held " + std::to_string(objects);
  for (const Held& each : left) {
    if (!is_marked(each.object, each.size, each.key)) return "an object of another thread has changed";
    heap::deallocate(each.object, "free");
  }
  main.drop_all();
  if (!main.failure.empty()) return main.failure;
  heap::trim();
  if (testing::live() != testing::Live{}) return "not everything could be freed";
  return testing::inconsistency();
}

std::string arena_workload() {
  testing::start_heap();
  if (std::string failure = ArenaWorkload().run(); !failure.empty()) return failure;
  heap::trim();
  if (testing::live() != testing::Live{}) return "not everything could be freed";
  return testing::inconsistency();
}

using Work = std::string (*)();

// The words of the failure; how often the kernel was asked in `requests`.
std::string run_child(Work work, const testing::FaultPlan& plan, long& requests) {
  void* const shared = mmap(nullptr, sizeof(Answer), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Answer& answer = *static_cast<Answer*>(shared);
  const pid_t child = fork();
  if (child == 0) {
    alarm(120);
    testing::plan_faults(plan);
    const std::string failure = work();
    answer.requests = testing::requests_made();
    std::snprintf(answer.words, sizeof answer.words, "%s", failure.c_str());
    _exit(failure.empty() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  std::string words = answer.words;
  requests = answer.requests;
  munmap(shared, sizeof(Answer));
  if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
  if (WEXITSTATUS(status) != 0 && words.empty()) return "status " + std::to_string(WEXITSTATUS(status));
  return words;
}

void refuse_each(long count, int error, Work work = workload) {
  long total = 0;
  ASSERT_EQ(run_child(work, {}, total), "") << "without any refusal";
  ASSERT_GT(total, 20);
  int failures = 0;
  for (long k = 1; k <= total && failures < 10; ++k) {
    long requests = 0;
    const std::string failure = run_child(work, {k, count, error}, requests);
    if (!failure.empty()) ++failures;
    EXPECT_EQ(failure, "") << count << " requests refused from number " << k << " of " << total << " on, error " << error;
  }
}

TEST(Faults, OneRequestRefused) { refuse_each(1, ENOMEM); }

TEST(Faults, EightRequestsRefused) { refuse_each(8, ENOMEM); }

// mmap says so when something else lives at the address; the other calls never do, and must take it as any error.
TEST(Faults, OnePlaceTaken) { refuse_each(1, EEXIST); }

TEST(Faults, NothingMoreFromSomeRequestOn) { refuse_each(1'000'000, ENOMEM); }

// Before kernel 5.7, and in sandboxes, some calls do not exist at all.
TEST(Faults, OneRequestForbidden) { refuse_each(1, EPERM); }

TEST(Faults, OneRequestOfArenasRefused) { refuse_each(1, ENOMEM, arena_workload); }

TEST(Faults, EightRequestsOfArenasRefused) { refuse_each(8, ENOMEM, arena_workload); }

TEST(Faults, NothingMoreForArenasFromSomeRequestOn) { refuse_each(1'000'000, ENOMEM, arena_workload); }

}  // namespace
}  // namespace nebula
