// Churn of medium (32 KiB to 1 MiB) or large (1 to 32 MiB) objects: a random one of those alive is replaced, and each
// page of the new one is written, as image, numerical and compression programs do. After the
// large-object loads of mimalloc-bench (Leijen) and the mmap-threshold discussion of Lea's dlmalloc.
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kMostLive = 256;

struct Place {
  void* object;
  std::size_t size;
};

template <class Calls>
void replace(Place& place, std::size_t size) {
  if (place.object) release_marked<Calls>(place.object, place.size);
  place.size = size;
  place.object = use_pages(allocate_marked<Calls>(size, size), size, kPage);
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t replacements = options.scaled(options.setting("replacements"));
  const std::size_t live = options.setting("live");
  const std::size_t least = options.setting("least") * kKib;
  const std::size_t most = options.setting("most") * kKib;
  Array<Place> tables(threads * kMostLive);

  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    Random random(options.seed() + index);
    Place* const table = &tables[index * kMostLive];
    const auto any_size = [&] { return least + random.below(most - least + 1); };
    for (std::size_t i = 0; i < live; ++i) replace<Calls>(table[i], any_size());
    for (std::size_t i = 0; i < replacements; ++i) replace<Calls>(table[random.below(live)], any_size());
  });
  report.stop_clock(threads * (live + replacements));
  report.phase("live");
  for (const Place& place : tables)
    if (place.object) release_marked<Calls>(place.object, place.size);
  report.phase("all freed");
}

constexpr Variant kVariants[] = {
    {"large-1", "--threads 1 --least 1024 --most 32768 --live 8 --replacements 120"},
    {"large-2", "--threads 2 --least 1024 --most 32768 --live 8 --replacements 80"},
    {"medium-1", "--threads 1 --least 32 --most 1024 --live 64 --replacements 100000"},
    {"medium-2", "--threads 2 --least 32 --most 1024 --live 64 --replacements 75000"},
    {"medium-8", "--threads 8 --least 32 --most 1024 --live 64 --replacements 5000"}};
constexpr Setting kSettings[] = {{"least", 32, 4, 1 << 20},
                                 {"most", 1024, 4, 1 << 20},
                                 {"live", 64, 1, kMostLive},
                                 {"replacements", 40'000, 1, 1'000'000'000}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "churn",
                .threads = {"threads", 1, 1, kMostThreads},
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
