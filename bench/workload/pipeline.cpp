// A pipeline: the first thread allocates a message, each stage after it reads and writes it, the last one frees it.
// With --copy 1 the stages between replace the message by one of their own. Messages go in groups through bounded
// rings, so that the rings' own cache misses do not hide the allocator's. The producer and consumer pattern of Berger
// et al., "Hoard" (ASPLOS 2000), section 2.2, with more stages.
#include "../common/ring.hpp"
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kGroup = 32;
constexpr std::size_t kGroups = 250'000;
constexpr unsigned kMostStages = 16;

using Group = std::array<void*, kGroup>;

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned stages = options.threads();
  const std::size_t groups = options.scaled(kGroups);
  const std::size_t size = options.setting("size");
  const bool copy = options.setting("copy") != 0;
  Array<Ring<Group, 32>> rings(stages - 1);

  report.start_clock();
  run_threads(stages, [&](unsigned index) {
    const bool first = index == 0;
    const bool last = index == stages - 1;
    Group group;
    for (std::size_t g = 0; g < groups; ++g) {
      if (!first) group = rings[index - 1].pop();
      for (std::size_t i = 0; i < kGroup; ++i) {
        if (!first) check(group[i], g + i + index - 1);
        if (!first && (last || copy)) Calls::release(group[i]);
        if (first || (!last && copy)) group[i] = Calls::allocate(size);
        if (!last) mark(group[i], g + i + index);
      }
      if (!last) rings[index].push(group);
    }
  });
  report.stop_clock(groups * kGroup * (copy ? stages - 1 : 1));
}

constexpr Variant kVariants[] = {{"pipeline-16b-2", "--threads 2 --size 16"},
                                 {"pipeline-64b-2", "--threads 2 --size 64"},
                                 {"pipeline-512b-2", "--threads 2 --size 512"},
                                 {"pipeline-64b-3", "--threads 3 --size 64"},
                                 {"pipeline-copy-64b-4", "--threads 4 --size 64 --copy 1 --scale 0.5"},
                                 {"pipeline-64b-8", "--threads 8 --size 64 --scale 0.75"}};
constexpr Setting kSettings[] = {{"size", 64, 8, 1 << 20}, {"copy", 0, 0, 1}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "pipeline",
                .threads = {"threads", 2, 2, kMostStages},
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
