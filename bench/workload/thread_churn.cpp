// Thousands of short threads, a few at a time: each allocates a little, frees what the thread before it left, leaves
// some objects to the next and frees the rest. A heap that is set up or torn down with each thread pays here. After the
// thread-per-request servers of Larson and Krishnan (ISMM 1998). An operation is one thread.
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kThreads = 5'000;
constexpr std::size_t kObjects = 100;
constexpr std::size_t kLeft = 10;          // to the next thread
constexpr unsigned kFirst = 4, kLast = 10;  // powers of two: 16 to 1023 bytes

using Legacy = std::array<void*, kLeft>;

template <class Calls>
void live(Legacy& legacy, Random random) {
  std::array<void*, kObjects> objects;
  for (std::size_t i = 0; i < kObjects; ++i) objects[i] = allocate_marked<Calls>(random.skewed(kFirst, kLast), i);
  for (std::size_t i = 0; i < kLeft; ++i) {
    if (legacy[i]) release_marked<Calls>(legacy[i], i);
    legacy[i] = objects[i];
  }
  for (std::size_t i = kLeft; i < kObjects; ++i) release_marked<Calls>(objects[i], i);
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t rounds = options.scaled(kThreads / threads);
  Array<Legacy> legacies(threads);

  report.phase("start");
  report.start_clock();
  for (std::size_t round = 0; round < rounds; ++round) {
    run_threads(threads, [&](unsigned index) {
      live<Calls>(legacies[index], Random(options.seed() + round * kMostThreads + index));
    });
  }
  report.stop_clock(threads * rounds);
  report.phase("all ended");
}

constexpr Variant kVariants[] = {
    {"thread-churn-1", "--threads 1"}, {"thread-churn-2", "--threads 2"}, {"thread-churn-16", "--threads 16"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "thread-churn",
                .threads = {"threads", 2, 1, kMostThreads},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
