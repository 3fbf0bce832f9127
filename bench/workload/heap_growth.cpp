// Cost against heap size: among so many live bytes (--live-mib: 1 MiB to 1 GiB in the list, up to 16 GiB), a random
// object of 16 to 1023 bytes is freed and another takes its place. Standard error names the nanoseconds of one
// replacement, which should follow the machine's caches and nothing else. After the scaling figures of Kanev et al.,
// "Profiling a warehouse-scale computer" (ISCA 2015).
#include <cstdio>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr unsigned kFirst = 4, kLast = 10;  // powers of two

constexpr std::size_t mean_size() {
  std::size_t sum = 0;
  for (unsigned power = kFirst; power < kLast; ++power) sum += (std::size_t{3} << power) / 2;
  return sum / (kLast - kFirst);
}

template <class Calls>
void run(const Options& options, Report& report) {
  const std::size_t live_mib = options.setting("live-mib");
  const std::size_t replacements = options.scaled(options.setting("replacements"));
  Array<void*> objects(live_mib * kMib / mean_size());
  Random random(options.seed());
  const auto replace = [&](std::size_t i) {
    if (objects[i]) release_marked<Calls>(objects[i], i);
    objects[i] = allocate_marked<Calls>(random.skewed(kFirst, kLast), i);
  };
  for (std::size_t i = 0; i < objects.size(); ++i) replace(i);

  report.start_clock();
  for (std::size_t i = 0; i < replacements; ++i) replace(random.below(objects.size()));
  report.stop_clock(replacements);
  report.phase("live");
  std::fprintf(stderr, "heap-growth: %zu MiB alive, %.1f ns a replacement\n", live_mib,
               report.seconds() * 1e9 / static_cast<double>(report.operations()));
}

constexpr Variant kVariants[] = {{"heap-growth-1m", "--live-mib 1 --replacements 20000000"},
                                 {"heap-growth-16m", "--live-mib 16 --replacements 5000000"},
                                 {"heap-growth-256m", "--live-mib 256 --replacements 1500000"},
                                 {"heap-growth-1g", "--live-mib 1024 --replacements 1000000"}};
constexpr Setting kSettings[] = {{"live-mib", 16, 1, 16 * 1024}, {"replacements", 3'000'000, 1, 1'000'000'000}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "heap-growth",
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
