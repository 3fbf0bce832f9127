// Random operations on an arena, a heap, a pool and a stack at once, against a model of what each has: every object keeps its
// contents, every checkpoint and frame is taken or refused as its history says, the books agree, and a budget that refuses changes
// nothing.

#include <rapidcheck.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "arena/arena.hpp"
#include "arena/object_heap.hpp"
#include "arena/pool.hpp"
#include "arena/stack.hpp"
#include "budget/account.hpp"
#include "heap/heap.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

constexpr std::size_t kUnlimited = ~std::size_t{0};
constexpr std::size_t kPoolObject = 700;
constexpr std::size_t kStackBytes = 20'000;

struct Object {
  void* at;
  std::size_t size;
  std::uint64_t identity;  // never given again
};

bool all_are_filled(const std::vector<Object>& objects) {
  for (const Object& object : objects)
    if (!testing::is_filled(object.at, object.size)) return false;
  return true;
}

// A history is the objects that there are, by identity: a checkpoint is good as long as those it saw are all still there.
struct Seen {
  arena::Checkpoint checkpoint;
  std::size_t objects;
  std::uint64_t last;  // the identity of the last of them
};

struct Opened {
  arena::Frame frame;
  std::size_t objects;
};

std::uint64_t coverage[16] = {};

class Everything {
 public:
  Everything()
      : arena_(*arena::Arena::create(0, kUnlimited)), heap_(*arena::ObjectHeap::create(kUnlimited)),
        pool_(*arena::Pool::create(kPoolObject, 16, kUnlimited)), stack_(*arena::Stack::create(kStackBytes)) {}
  ~Everything() {
    arena_.destroy();
    heap_.destroy();
    pool_.destroy();
    stack_.destroy();
  }

  void apply(std::uint64_t number) {
    const std::uint64_t action = number % 16;
    number /= 16;
    ++coverage[action];
    if (action < 4) allocate_in_arena(number);
    else if (action == 4) note_checkpoint();
    else if (action == 5) restore(number);
    else if (action < 8) allocate_in_heap(number);
    else if (action == 8) resize_in_heap(number);
    else if (action == 9) drop(in_heap_, number, [this](void* object) { heap_.free(object, "test"); });
    else if (action < 12) allocate_in_pool();
    else if (action == 12) drop(in_pool_, number, [this](void* object) { pool_.free(object, "test"); });
    else if (action == 13) allocate_in_stack(number);
    else if (action == 14) begin_frame();
    else end_frame(number);
  }

  [[nodiscard]] std::string difference() const {
    std::string words;
    if (!all_are_filled(in_arena_)) words += "an object of the arena has changed\n";
    if (!all_are_filled(in_heap_)) words += "an object of the heap has changed\n";
    if (!all_are_filled(in_pool_)) words += "an object of the pool has changed\n";
    if (!all_are_filled(in_stack_)) words += "an object of the stack has changed\n";
    if (arena_.usage().objects != in_arena_.size()) words += "the arena miscounts\n";
    if (heap_.usage().objects != in_heap_.size()) words += "the heap miscounts\n";
    if (pool_.usage().objects != in_pool_.size()) words += "the pool miscounts\n";
    if (stack_.usage().objects != in_stack_.size()) words += "the stack miscounts\n";
    return words + wrong_;
  }
  [[nodiscard]] std::uint64_t held() const {
    return arena_.usage().held_bytes + heap_.usage().held_bytes + pool_.usage().held_bytes + stack_.usage().held_bytes;
  }

 private:
  static std::size_t size_from(std::uint64_t number) {
    return number / 32 % (std::uint64_t{16} << number % 14);  // up to 128 KiB
  }

  void keep(std::vector<Object>& objects, void* at, std::size_t size) {
    if (at == nullptr) return;
    testing::fill(at, size);
    objects.push_back({at, size, ++identities_});
  }

  template <class Free>
  void drop(std::vector<Object>& objects, std::uint64_t number, Free free) {
    if (objects.empty()) return;
    std::swap(objects[number % objects.size()], objects.back());
    free(objects.back().at);
    objects.pop_back();
  }

  void allocate_in_arena(std::uint64_t number) {
    const std::size_t size = size_from(number);
    keep(in_arena_, arena_.allocate(size, std::size_t{1} << number / 7 % 9), size);
  }

  void note_checkpoint() {
    seen_.push_back({arena_.checkpoint(), in_arena_.size(), in_arena_.empty() ? 0 : in_arena_.back().identity});
  }

  void restore(std::uint64_t number) {
    if (seen_.empty()) return;
    const Seen& to = seen_[number % seen_.size()];
    const bool is_good = to.objects <= in_arena_.size() && (to.objects == 0 || in_arena_[to.objects - 1].identity == to.last);
    const arena::Arena::Restored done = arena_.restore(to.checkpoint);
    if (done != (is_good ? arena::Arena::Restored::kDone : arena::Arena::Restored::kStale)) wrong_ += "a checkpoint is misjudged\n";
    if (is_good) in_arena_.resize(to.objects);
    ++(is_good ? restored : stale);
  }

  void allocate_in_heap(std::uint64_t number) {
    const std::size_t size = size_from(number);
    keep(in_heap_, heap_.allocate(size, std::size_t{1} << number / 7 % 14), size);
  }

  void resize_in_heap(std::uint64_t number) {
    if (in_heap_.empty()) return;
    std::swap(in_heap_[number % in_heap_.size()], in_heap_.back());
    Object& object = in_heap_.back();
    const std::size_t size = 1 + size_from(number / 5);
    testing::fill_as(object.at, object.size, 42);
    void* const moved = heap_.reallocate(object.at, size, "test");
    const std::size_t kept = moved != nullptr && size < object.size ? size : object.size;
    if (!testing::is_filled_as(moved != nullptr ? moved : object.at, kept, 42)) wrong_ += "resizing changed what was kept\n";
    if (moved != nullptr) object = {moved, size, object.identity};
    testing::fill(object.at, object.size);
  }

  void allocate_in_pool() { keep(in_pool_, pool_.allocate(), kPoolObject); }

  void allocate_in_stack(std::uint64_t number) {
    const std::size_t size = size_from(number) % 2000;
    keep(in_stack_, stack_.allocate(size, std::size_t{1} << number % 8), size);
  }

  void begin_frame() {
    Opened opened = {{}, in_stack_.size()};
    if (!stack_.begin_frame(opened.frame)) return;
    frames_.push_back(opened);
    every_frame_.push_back(opened.frame);
  }

  void end_frame(std::uint64_t number) {
    if (every_frame_.empty()) return;
    const arena::Frame frame = number % 2 == 0 && !frames_.empty() ? frames_.back().frame : every_frame_[number % every_frame_.size()];
    auto expected = arena::Stack::Ended::kStale;
    for (const Opened& opened : frames_)
      if (opened.frame.number == frame.number) expected = arena::Stack::Ended::kNotLast;
    if (!frames_.empty() && frames_.back().frame.number == frame.number) expected = arena::Stack::Ended::kDone;
    if (stack_.end_frame(frame) != expected) wrong_ += "a frame is misjudged\n";
    if (expected != arena::Stack::Ended::kDone) return;
    in_stack_.resize(frames_.back().objects);
    frames_.pop_back();
  }

 public:
  static inline std::uint64_t restored = 0;
  static inline std::uint64_t stale = 0;

 private:
  arena::Arena& arena_;
  arena::ObjectHeap& heap_;
  arena::Pool& pool_;
  arena::Stack& stack_;
  std::vector<Object> in_arena_, in_heap_, in_pool_, in_stack_;
  std::vector<Seen> seen_;
  std::vector<Opened> frames_;
  std::vector<arena::Frame> every_frame_;
  std::uint64_t identities_ = 0;
  std::string wrong_;
};

bool run() {
  const std::uint64_t refusals = process_account.refusals();
  const bool good = rc::check("arenas, heaps, pools and stacks do what their models do", [] {
    const auto number = rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<std::uint64_t>());
    const auto numbers = *rc::gen::scale(200, rc::gen::container<std::vector<std::uint64_t>>(number)).as("operations");
    heap::trim();
    const testing::Live before = testing::live();
    {
      Everything everything;
      process_account.set_limits(process_account.committed() + 2 * kMiB, kNoLimit);
      for (const std::uint64_t each : numbers) everything.apply(each);
      const std::string difference = everything.difference() + testing::inconsistency();
      const std::uint64_t held = testing::live().bytes - before.bytes;
      process_account.set_limits(kNoLimit, kNoLimit);
      if (!difference.empty()) RC_FAIL(difference);
      RC_ASSERT(everything.held() == held);
    }
    RC_ASSERT(testing::live() == before);
  });
  bool all_were_met = process_account.refusals() != refusals && Everything::restored != 0 && Everything::stale != 0;
  for (const std::uint64_t count : coverage) all_were_met = all_were_met && count != 0;
  std::printf("%llu refusals, %llu checkpoints restored, %llu stale\n",
              static_cast<unsigned long long>(process_account.refusals() - refusals),
              static_cast<unsigned long long>(Everything::restored), static_cast<unsigned long long>(Everything::stale));
  if (!all_were_met) std::fprintf(stderr, "not everything was met: the test has tested nothing\n");
  return good && all_were_met;
}

}  // namespace
}  // namespace nebula

int main() {
  nebula::testing::start_heap();
  return nebula::run() ? 0 : 1;
}
