// Cache lines shared by threads that share nothing. cache-thrash (active): each thread allocates a small object, writes
// it many times, frees it; an allocator that serves two threads from one line makes them fight over it. cache-scratch
// (passive, --handed-over 1): the first objects come from the main thread, side by side, and are freed by the threads,
// which an allocator may give back to them as they are. After Berger et al., "Hoard" (ASPLOS 2000), section 4.
// An operation is one object's life with all its writes.
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kSize = 8;
constexpr std::size_t kLives = 50'000;
constexpr std::size_t kWrites = 8'000;

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t lives = options.scaled(kLives);
  std::array<void*, kMostThreads> handed_over{};
  if (options.setting("handed-over") != 0)
    for (unsigned t = 0; t < threads; ++t) handed_over[t] = allocate_marked<Calls>(kSize, t);

  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    if (handed_over[index]) release_marked<Calls>(handed_over[index], index);
    for (std::size_t life = 0; life < lives; ++life) {
      void* const object = allocate_marked<Calls>(kSize, life);
      auto& counter = *static_cast<volatile std::uint64_t*>(object);
      for (std::size_t i = 0; i < kWrites; ++i) counter = counter + 1;
      release_marked<Calls>(object, life + kWrites);
    }
  });
  report.stop_clock(threads * lives);
}

constexpr Variant kVariants[] = {{"cache-thrash-1", "--threads 1"},
                                 {"cache-thrash-2", "--threads 2"},
                                 {"cache-thrash-8", "--threads 8 --scale 0.25"},
                                 {"cache-scratch-1", "--threads 1 --handed-over 1"},
                                 {"cache-scratch-2", "--threads 2 --handed-over 1"},
                                 {"cache-scratch-8", "--threads 8 --handed-over 1 --scale 0.25"}};
constexpr Setting kSettings[] = {{"handed-over", 0, 0, 1}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "false-sharing",
                .threads = {"threads", 2, 1, kMostThreads},
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
