// Random operations from four threads under every account at once, against a model of what each must be charged: exact whenever
// nothing runs, and never above its limit. The accounts are one per process; each sequence begins with what the ones before
// have left free.

#include <rapidcheck.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "budget/size_limits.hpp"
#include "budget/tree.hpp"
#include "heap/heap.hpp"
#include "spans/sampled.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

constexpr unsigned kThreads = 4;
constexpr std::uint64_t kProcessLimit = 12 * kMiB;
constexpr std::uint64_t kTreeLimit = 11 * kMiB;
constexpr config::SizeLimit kSizes[] = {{1, 64, 6'000}, {1000, 3000, 80'000}, {40 * kKiB, 100 * kKiB, 300'000},
                                        {kMiB, ~std::uint64_t{0}, 5 * kMiB}};

// The start of each is filled: who writes beyond an object writes into the start of the one behind.
struct Object {
  void* address;
  std::size_t size;

  static Object made(void* address, std::size_t size) {
    testing::fill(address, filled(size));
    return {address, size};
  }
  static std::size_t filled(std::size_t size) { return std::min(size, kPageSize); }
  [[nodiscard]] std::uint64_t key() const { return reinterpret_cast<Address>(address) ^ filled(size); }
  [[nodiscard]] bool is_whole(const void* now, std::size_t new_size) const {
    const std::size_t kept = std::min(filled(size), filled(new_size));
    return testing::is_filled_as(now, kept - kept % 8, key());
  }
  [[nodiscard]] bool is_whole() const { return is_whole(address, size); }
};

struct Worker {
  std::vector<Object> objects;
  bool stayed_below = true;
  bool contents_stayed = true;

  void apply(std::uint64_t number) {
    const std::uint64_t action = number % 8;
    number /= 8;
    const std::size_t size = size_from(number);
    if (action < 4 || objects.empty()) {
      void* const address = action == 3 ? heap::allocate_aligned(size, 64) : heap::allocate(size);
      if (address != nullptr) objects.push_back(Object::made(address, size));
    } else {
      Object& chosen = objects[number / 64 % objects.size()];
      if (!chosen.is_whole()) contents_stayed = false;
      if (action < 6) {
        if (void* const moved = heap::reallocate(chosen.address, size)) {
          if (!chosen.is_whole(moved, size)) contents_stayed = false;
          chosen = Object::made(moved, size);
        }
      } else {
        heap::deallocate(chosen.address, "free");
        chosen = objects.back();
        objects.pop_back();
      }
    }
    if (process_account.committed() > kProcessLimit || tree::total() > kTreeLimit) stayed_below = false;
    for (const Account& account : size_limits::accounts())
      if (account.committed() > account.hard_limit()) stayed_below = false;
  }

  static std::size_t size_from(std::uint64_t number) {
    const std::uint64_t magnitude = number % 18;  // up to 4 MiB
    return 1 + number / 32 % (std::uint64_t{16} << magnitude);
  }
};

// What an account of sizes must be charged: slots that are out of their slabs, samples at the size of a slot, and the pages of large
// objects.
std::uint64_t expected_of(const config::SizeLimit& range, const std::vector<Worker>& workers) {
  std::uint64_t bytes = 0;
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    const sampled::Counts samples = sampled::counts(c);
    const std::uint64_t slots = node_heap.facts(c).slots_outside + samples.allocations - samples.frees;
    if (slot_size(c) >= range.first && slot_size(c) <= range.last) bytes += slots * slot_size(c);
  }
  for (const Worker& worker : workers)
    for (const Object& object : worker.objects)
      if (const std::size_t size = heap::usable_size(object.address); size > kSmallMax && size >= range.first && size <= range.last)
        bytes += size;
  return bytes;
}

std::string difference(const std::vector<Worker>& workers) {
  std::ostringstream out;
  for (const Worker& worker : workers) {
    if (!worker.stayed_below) out << "an account was above its limit\n";
    if (!worker.contents_stayed) out << "an object has changed\n";
  }
  for (const Account& account : size_limits::accounts()) {
    const config::SizeLimit& range = size_limits::range_of(account);
    if (const std::uint64_t expected = expected_of(range, workers); account.committed() != expected)
      out << "sizes from " << range.first << ": charged " << account.committed() << ", held " << expected << '\n';
  }
  if (tree::total() != process_account.committed())
    out << "the tree has " << tree::total() << ", its only process " << process_account.committed() << '\n';
  return out.str() + testing::inconsistency();
}

// Each limit of sizes, met alone: whether the random operations meet it, or one of all before, depends on how the threads run.
bool meet_size_limits() {
  for (const Account& account : size_limits::accounts()) {
    const std::size_t size = size_limits::range_of(account).first;
    const std::uint64_t refusals = account.refusals();
    std::vector<void*> held;
    while (void* const address = heap::allocate(size)) held.push_back(address);
    const bool was_met = account.refusals() != refusals && account.committed() <= account.hard_limit();
    if (!was_met || held.empty())
      std::fprintf(stderr, "sizes from %zu: %zu objects, %llu bytes\n", size, held.size(), static_cast<unsigned long long>(account.committed()));
    for (void* const address : held) heap::deallocate(address, "free");
    heap::trim();
    if (!was_met || held.empty() || account.committed() != 0) return false;
  }
  return true;
}

bool run() {
  std::uint64_t operations = 0;
  if (!meet_size_limits()) return false;
  const bool good = rc::check("every account is charged what belongs to it", [&operations] {
    const auto number = rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<std::uint64_t>());
    const auto numbers = *rc::gen::scale(60, rc::gen::container<std::vector<std::uint64_t>>(number)).as("operations");
    operations += numbers.size();
    std::vector<Worker> workers(kThreads);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = t; i < numbers.size(); i += kThreads) workers[t].apply(numbers[i]);
      });
    }
    for (std::thread& thread : threads) thread.join();
    const std::string at_rest = difference(workers);
    for (Worker& worker : workers) {
      for (const Object& object : worker.objects) {
        if (!object.is_whole()) worker.contents_stayed = false;
        heap::deallocate(object.address, "free");
      }
      worker.objects.clear();
    }
    heap::trim();
    const std::string at_end = difference(workers);
    if (!at_rest.empty()) RC_FAIL(at_rest);
    if (!at_end.empty()) RC_FAIL("all freed: " + at_end);
    for (const Account& account : size_limits::accounts()) RC_ASSERT(account.committed() == 0u);
  });
  if (process_account.refusals() + tree_account.refusals() == 0) {
    std::fprintf(stderr, "limits were not met: the test has tested nothing\n");
    return false;
  }
  std::printf("%llu operations\n", static_cast<unsigned long long>(operations));
  return good;
}

}  // namespace
}  // namespace nebula

int main() {
  using namespace nebula;
  testing::start_heap();
  size_limits::set(kSizes, {});
  process_account.set_limits(kProcessLimit, kProcessLimit / 2);
  if (tree::join(kTreeLimit, "") == tree::Joined::kImpossible) return 1;
  const bool good = run();
  tree::leave();
  return good ? 0 : 1;
}
