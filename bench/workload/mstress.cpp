// Threads that come and go: in each round new threads replace objects of mixed lifetimes and sizes in tables of their
// own, exchange some through a table that all share and that outlives them, and free what they hold when they end;
// now and then half of the shared table is freed. After test-stress of mimalloc (Leijen, Zorn and de Moura, "Mimalloc:
// free list sharding in action", 2019).
#include <atomic>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kOwn = 1000;     // places in a thread's own table
constexpr std::size_t kShared = 1000;  // places in the shared table
constexpr std::size_t kSteps = 25'000;
constexpr std::size_t kRounds = 120;
constexpr std::size_t kSweep = 10;  // rounds between two sweeps of the shared table
constexpr std::uint64_t kCookie = 0xbf58476d1ce4e5b9u;

// An object is filled with words that follow from its length, which is its first word, so that whoever holds it can
// check all of it.
template <class Calls>
std::uint64_t* make(Random& random) {
  const bool seldom = random.below(1000) == 0;
  const std::size_t count = (seldom ? random.skewed(12, 17) : random.skewed(4, 10)) / sizeof(std::uint64_t);
  auto* const words = static_cast<std::uint64_t*>(Calls::allocate(count * sizeof(std::uint64_t)));
  words[0] = count;
  for (std::size_t i = 1; i < count; ++i) words[i] = kCookie ^ (count - i);
  return words;
}

template <class Calls>
void drop(std::uint64_t* words) {
  if (!words) return;
  const std::size_t count = words[0];
  if (count == 0) fail("the object at %p was freed before: it was given out twice", static_cast<void*>(words));
  for (std::size_t i = 1; i < count; ++i)
    if (words[i] != (kCookie ^ (count - i)))
      fail("word %zu of the object at %p was overwritten", i, static_cast<void*>(words));
  words[0] = 0;
  Calls::release(words);
}

using Shared = std::array<std::atomic<std::uint64_t*>, kShared>;

template <class Calls>
void work(std::uint64_t** own, Shared& shared, Random random) {
  for (std::size_t step = 0; step < kSteps; ++step) {
    std::uint64_t*& place = own[random.below(kOwn)];
    drop<Calls>(place);
    place = make<Calls>(random);
    // Each exchange gives its object's words away and takes another's: it pairs with all others.
    if (random.below(4) == 0) place = shared[random.below(kShared)].exchange(place, std::memory_order_acq_rel);
  }
  for (std::size_t i = 0; i < kOwn; ++i) {
    drop<Calls>(own[i]);
    own[i] = nullptr;
  }
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t rounds = options.scaled(kRounds);
  Array<std::uint64_t*> own(threads * kOwn);
  static Shared shared;

  report.start_clock();
  for (std::size_t round = 0; round < rounds; ++round) {
    run_threads(threads, [&](unsigned index) {
      work<Calls>(&own[index * kOwn], shared, Random(options.seed() + round * kMostThreads + index));
    });
    if (round % kSweep != kSweep - 1) continue;
    for (std::size_t i = 0; i < kShared; i += 2) drop<Calls>(shared[i].exchange(nullptr, std::memory_order_acq_rel));
  }
  report.stop_clock(threads * rounds * kSteps);
  report.phase("rounds over");
  for (auto& place : shared) drop<Calls>(place.exchange(nullptr, std::memory_order_acq_rel));
  report.phase("all freed");
}

constexpr Variant kVariants[] = {{"mstress-1", "--threads 1"},
                                 {"mstress-2", "--threads 2"},
                                 {"mstress-8", "--threads 8 --scale 0.25"},
                                 {"mstress-16", "--threads 16 --scale 0.125"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "mstress",
                .threads = {"threads", 2, 1, kMostThreads},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
