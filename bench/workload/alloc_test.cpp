// Random replacement: a random place of a table is freed if it holds an object, filled if it holds none. Half of the
// places are full on average; objects are 8 to 1023 bytes, most of them small. From a live set within the first-level
// cache to several times the last-level cache, which standard error names for reference. After alloc-test of the ITHare
// project (Ignatchenko et al., 2018).
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr unsigned kFirst = 3, kLast = 10;  // powers of two

struct Place {
  std::uint8_t* object;
  std::size_t size;
};

template <class Calls>
void toggle(Place& place, Random& random) {
  if (place.object) {  // the whole object is as it was left: its ends tell
    const std::uint8_t expected = static_cast<std::uint8_t>(place.size);
    if (place.object[0] != expected || place.object[place.size - 1] != expected)
      fail("the object of %zu bytes at %p was overwritten", place.size, static_cast<void*>(place.object));
    Calls::release(place.object);
    place.object = nullptr;
    return;
  }
  place.size = random.skewed(kFirst, kLast);
  place.object = static_cast<std::uint8_t*>(Calls::allocate(place.size));
  std::memset(place.object, static_cast<int>(place.size), place.size);
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t toggles = options.scaled(options.setting("toggles"));
  const std::size_t places = 2 * options.setting("live");
  Array<Place> tables(threads * places);
  std::fprintf(stderr, "alloc-test: %zu objects alive in each thread; the last-level cache has %ld KiB\n", places / 2,
               ::sysconf(_SC_LEVEL3_CACHE_SIZE) / 1024);
  Barrier filled(threads);

  run_threads(threads, [&](unsigned index) {
    Random random(options.seed() + index);
    Place* const table = &tables[index * places];
    for (std::size_t i = 0; i < places; i += 2) toggle<Calls>(table[i], random);
    for (std::size_t i = 0; i < places; ++i) toggle<Calls>(table[random.below(places)], random);
    filled.wait();
    if (index == 0) report.start_clock();
    for (std::size_t i = 0; i < toggles; ++i) toggle<Calls>(table[random.below(places)], random);
  });
  report.stop_clock(threads * toggles / 2);
  report.phase("live");
}

constexpr Variant kVariants[] = {{"alloc-test-1k-1", "--threads 1 --live 1000 --toggles 18000000"},
                                 {"alloc-test-10k-1", "--threads 1 --live 10000 --toggles 16000000"},
                                 {"alloc-test-100k-1", "--threads 1 --live 100000 --toggles 6000000"},
                                 {"alloc-test-1m-1", "--threads 1 --live 1000000 --toggles 4000000"},
                                 {"alloc-test-10k-2", "--threads 2 --live 10000 --toggles 16000000"},
                                 {"alloc-test-1m-2", "--threads 2 --live 500000 --toggles 4000000"},
                                 {"alloc-test-10k-8", "--threads 8 --live 10000 --toggles 4000000"}};
constexpr Setting kSettings[] = {{"live", 10'000, 1, 16'000'000}, {"toggles", 16'000'000, 1, 1'000'000'000}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "alloc-test",
                .threads = {"threads", 1, 1, kMostThreads},
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
