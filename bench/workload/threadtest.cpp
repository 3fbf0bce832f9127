// Each thread allocates a batch of its own and frees it, again and again; nothing is shared, so that a good allocator
// scales with the processors. After threadtest of Berger et al., "Hoard" (ASPLOS 2000).
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kBatch = 50'000;
constexpr std::size_t kRounds = 200;

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t rounds = options.scaled(kRounds);
  const std::size_t size = options.setting("size");
  Array<void*> objects(threads * kBatch);

  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    void** const mine = &objects[index * kBatch];
    for (std::size_t round = 0; round < rounds; ++round) {
      for (std::size_t i = 0; i < kBatch; ++i) mine[i] = allocate_marked<Calls>(size, i);
      for (std::size_t i = 0; i < kBatch; ++i) release_marked<Calls>(mine[i], i);
    }
  });
  report.stop_clock(threads * rounds * kBatch);
}

constexpr Variant kVariants[] = {{"threadtest-1", "--threads 1 --scale 2.5"},
                                 {"threadtest-2", "--threads 2"},
                                 {"threadtest-256b-2", "--threads 2 --size 256 --scale 0.25"},
                                 {"threadtest-8", "--threads 8 --scale 0.25"},
                                 {"threadtest-16", "--threads 16 --scale 0.125"}};
constexpr Setting kSettings[] = {{"size", 8, 8, 1 << 20}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "threadtest",
                .threads = {"threads", 2, 1, kMostThreads},
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
