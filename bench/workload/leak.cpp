// A program that allocates and exits without freeing anything, as compilers, linkers and command-line tools do: what
// counts is how fast the heap grows, and how fast the process is gone. The exit is in the time the comparing tool
// takes, not in ours.
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kObjects = 3'000'000;
constexpr unsigned kFirst = 4, kLast = 8;  // powers of two: 16 to 255 bytes

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t objects = options.scaled(kObjects) / threads;
  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    Random random(options.seed() + index);
    void* before = nullptr;
    for (std::size_t i = 0; i < objects; ++i) {  // a list, as an arena of nodes would be
      void* const object = Calls::allocate(random.skewed(kFirst, kLast));
      *static_cast<void* volatile*>(object) = before;
      before = object;
    }
  });
  report.stop_clock(threads * objects);
  report.phase("exit");
}

constexpr Variant kVariants[] = {{"leak-1", "--threads 1"}, {"leak-2", "--threads 2"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "leak",
                .threads = {"threads", 1, 1, kMostThreads},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
