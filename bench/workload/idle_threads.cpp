// A server after its rush hour: a hundred threads allocate, free everything, and wait for work that does not come. What
// stays resident is what their caches hoard. After the thread-cache scavenging that TCMalloc's and jemalloc's manuals
// describe for idle threads. The waiting is not in the measured time.
#include <ctime>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kObjects = 5'000;     // in a thread
constexpr unsigned kFirst = 4, kLast = 12;  // powers of two: 16 to 4095 bytes
constexpr std::size_t kRounds = 2;
constexpr timespec kIdle = {.tv_sec = 0, .tv_nsec = 200'000'000};

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t rounds = options.scaled(kRounds);
  Array<void*> objects(threads * kObjects);
  Barrier barrier(threads);
  const auto note = [&](unsigned index, const char* name) {
    barrier.wait();
    if (index == 0) report.phase(name);
    barrier.wait();
  };

  report.phase("start");
  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    Random random(options.seed() + index);
    void** const mine = &objects[index * kObjects];
    for (std::size_t round = 0; round < rounds; ++round) {
      for (std::size_t i = 0; i < kObjects; ++i) mine[i] = allocate_marked<Calls>(random.skewed(kFirst, kLast), i);
      if (round == rounds - 1) note(index, "all alive");
      for (std::size_t i = 0; i < kObjects; ++i) release_marked<Calls>(mine[i], i);
    }
    barrier.wait();
    if (index == 0) report.stop_clock(threads * rounds * kObjects);
    note(index, "all freed");
    ::nanosleep(&kIdle, nullptr);
    note(index, "idle");
  });
  report.phase("threads ended");
}

constexpr Variant kVariants[] = {{"idle-threads-100", "--threads 100"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "idle-threads",
                .threads = {"threads", 100, 1, kMostThreads},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
