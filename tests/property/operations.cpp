// Random sequences of operations against a model of what a heap is: objects that do not overlap, are aligned, keep their
// contents and are counted exactly. The heap is one per process and lives through all sequences, so each begins with
// whatever state the ones before have left; at the end of each every object is freed.
//
// One operation is one random number, its parts chosen by dividing: that keeps drawing cheap, and shrinking towards 0
// shrinks towards a small malloc.

#include <rapidcheck.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "heap/heap.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

std::uint64_t operations_done = 0;
std::string parameters;

// Takes choices out of a number, the first one asked for from the lowest digits.
class Choices {
 public:
  explicit Choices(std::uint64_t number) : number_(number) {}
  std::uint64_t below(std::uint64_t end) {
    const std::uint64_t choice = number_ % end;
    number_ /= end;
    return choice;
  }
  std::size_t size() {
    const std::uint64_t shape = below(1000);
    if (shape < 700) return below(257);
    if (shape < 900) return below(2049);
    if (shape < 990) return below(32 * kKiB + 1);
    if (shape < 999) return below(256 * kKiB);
    return below(4 * kMiB + 1);
  }

 private:
  std::uint64_t number_;
};

struct Object {
  void* address;
  std::size_t size;    // as asked for
  std::size_t usable;
  std::uint64_t key;   // of the pattern, over all usable bytes
};

class Model {
 public:
  void apply(std::uint64_t number) {
    ++operations_done;
    Choices choices(number);
    const std::uint64_t kind = choices.below(100);
    if (testing::classes_move() && operations_done % 8 == 0) testing::move_a_class(number / 100);
    if (kind < 35) add(heap::allocate(size_ = choices.size()), 16);
    else if (kind < 42) add_zeroed(choices.size());
    else if (kind < 48) add_aligned(choices);
    else if (kind < 60) resize(choices);
    else if (kind < 98) remove(choices);
    else if (kind == 98) check_usable(choices);
    else if (choices.below(16) == 0) heap::trim();
  }

  void finish() {
    check_counts();
    if (const std::string wrong = testing::inconsistency(); !wrong.empty()) RC_FAIL(wrong);  // while some of each region is free
    while (!objects_.empty()) remove_at(objects_.size() - 1);
    check_counts();
    const std::string wrong = testing::inconsistency();
    if (!wrong.empty()) RC_FAIL(wrong);
  }

 private:
  void add(void* address, std::size_t alignment) {
    RC_ASSERT(bool(address != nullptr));
    RC_ASSERT(reinterpret_cast<Address>(address) % alignment == 0u);
    const std::size_t usable = heap::usable_size(address);
    RC_ASSERT(usable >= size_);
    check_apart(address, usable);
    objects_.push_back({address, size_, usable, ++last_key_});
    ends_[reinterpret_cast<Address>(address)] = reinterpret_cast<Address>(address) + usable;
    bytes_ += usable;
    testing::fill_as(address, usable, last_key_);
  }

  void add_zeroed(std::size_t size) {
    size_ = size;
    const auto* const bytes = static_cast<const char*>(heap::allocate_zeroed(size));
    RC_ASSERT(bool(bytes != nullptr));
    for (std::size_t i = 0; i < size; ++i)
      if (bytes[i] != 0) RC_FAIL("zeroed memory is not zero");
    add(const_cast<char*>(bytes), 16);
  }

  void add_aligned(Choices& choices) {
    // Mostly as programs ask: a cache line, a page; rarely more than a region.
    const std::size_t alignment = std::size_t{1} << (choices.below(10) == 0 ? choices.below(23) : choices.below(13));
    size_ = choices.size();
    add(heap::allocate_aligned(size_, alignment), alignment);
  }

  void resize(Choices& choices) {
    if (objects_.empty()) return;
    const std::size_t which = choices.below(objects_.size());
    const Object old = objects_[which];
    // Half of them by a little, as a growing array does.
    size_ = choices.below(2) == 0 ? choices.size() + 1 : old.size + old.size / 2 + 1;
    if (size_ > 16 * kMiB) size_ = 1;
    forget(which);
    void* const address = heap::reallocate(old.address, size_);
    RC_ASSERT(bool(address != nullptr));
    const std::size_t kept = old.usable < size_ ? old.usable : size_;
    if (!testing::is_filled_as(address, kept - kept % 8, old.key)) RC_FAIL("realloc has lost contents");
    add(address, 16);
  }

  void remove(Choices& choices) {
    if (!objects_.empty()) remove_at(choices.below(objects_.size()));
  }

  void remove_at(std::size_t which) {
    const Object old = objects_[which];
    if (!testing::is_filled_as(old.address, old.usable, old.key)) RC_FAIL("an object has changed");
    forget(which);
    heap::deallocate(old.address, "free");
  }

  void check_usable(Choices& choices) {
    if (objects_.empty()) return;
    const Object& object = objects_[choices.below(objects_.size())];
    RC_ASSERT(heap::usable_size(object.address) == object.usable);
    if (choices.below(20) == 0) check_counts();
  }

  void check_apart(void* pointer, std::size_t usable) const {
    const auto address = reinterpret_cast<Address>(pointer);
    auto next = ends_.lower_bound(address);
    if (next != ends_.end() && next->first < address + usable) RC_FAIL("objects overlap");
    if (next != ends_.begin() && (--next)->second > address) RC_FAIL("objects overlap");
  }

  void check_counts() const {
    const testing::Live live = testing::live();
    RC_ASSERT(live.objects == objects_.size());
    RC_ASSERT(live.bytes == bytes_);
  }

  void forget(std::size_t which) {
    ends_.erase(reinterpret_cast<Address>(objects_[which].address));
    bytes_ -= objects_[which].usable;
    objects_[which] = objects_.back();
    objects_.pop_back();
  }

  std::vector<Object> objects_;
  std::map<Address, Address> ends_;
  std::uint64_t bytes_ = 0;
  std::uint64_t last_key_ = 0;
  std::size_t size_ = 0;
};

bool check_operations() {
  return rc::check("a heap is a set of objects that are apart", [] {
    const auto number = rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<std::uint64_t>());
    const auto numbers =
        *rc::gen::scale(60, rc::gen::container<std::vector<std::uint64_t>>(number)).as("operations");
    Model model;
    try {
      for (const std::uint64_t each : numbers) model.apply(each);
      model.finish();
    } catch (...) {
      std::cerr << "to repeat: RC_PARAMS=\"" << parameters << "\" and this program\n";
      throw;
    }
  });
}

}  // namespace
}  // namespace nebula

int main() {
  // rapidcheck would draw a seed by itself and name it only at the end; a crash must not take it along.
  const char* const given = std::getenv("RC_PARAMS");
  nebula::parameters = given == nullptr ? "" : given;
  if (nebula::parameters.find("seed=") == std::string::npos && nebula::parameters.find("reproduce=") == std::string::npos)
    nebula::parameters += " seed=" + std::to_string(std::random_device()());
  if (nebula::parameters.find("max_success=") == std::string::npos) nebula::parameters += " max_success=1000";
  setenv("RC_PARAMS", nebula::parameters.c_str(), 1);
  std::cerr << "RC_PARAMS=\"" << nebula::parameters << "\"" << std::endl;
  nebula::testing::start_heap();
  const bool good = nebula::check_operations();
  std::printf("%llu operations\n", static_cast<unsigned long long>(nebula::operations_done));
  return good ? 0 : 1;
}
