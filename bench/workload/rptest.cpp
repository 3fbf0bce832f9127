// Blocks of 16 bytes to 32 KiB, small ones more often, replaced at scattered places of each thread's table; every
// second loop a thread also allocates a batch for its neighbour, which frees it. After the benchmark of rpmalloc
// (Jansson).
#include <atomic>

#include "../common/ring.hpp"
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kBlocks = 1000;  // a thread's table
constexpr std::size_t kGroup = 100;    // blocks replaced in a loop, and blocks of a batch
constexpr std::size_t kLoops = 16'000;
constexpr std::size_t kStride = 7;  // coprime to kBlocks, so that all places are visited
constexpr std::size_t kLeast = 16;
constexpr std::size_t kMost = 32 * kKib;

using Batch = std::array<void*, kGroup>;

struct Place {
  Ring<Batch, 4> inbox;
  std::atomic<bool> ended;
  std::array<void*, kBlocks> blocks;
};

template <class Calls>
void* make(Random& random, std::uint64_t tag) {
  const std::size_t share = random.below(kMost - kLeast + 1);
  const std::size_t size = kLeast + (share * share >> 15);
  return use_pages(allocate_marked<Calls>(size, tag), size, kPage);
}

template <class Calls>
bool drain(Place& place) {
  Batch batch;
  if (!place.inbox.try_pop(batch)) return false;
  for (std::size_t i = 0; i < kGroup; ++i) release_marked<Calls>(batch[i], i);
  return true;
}

template <class Calls>
void work(Place& mine, Place& neighbour, const Place& predecessor, std::size_t loops, Random random) {
  for (std::size_t i = 0; i < kBlocks; ++i) mine.blocks[i] = make<Calls>(random, i);
  std::size_t at = 0;
  for (std::size_t loop = 0; loop < loops; ++loop) {
    for (std::size_t i = 0; i < kGroup; ++i) {
      at = (at + kStride) % kBlocks;
      release_marked<Calls>(mine.blocks[at], at);
      mine.blocks[at] = make<Calls>(random, at);
    }
    drain<Calls>(mine);
    if (loop % 2 != 0) continue;
    Batch batch;
    for (std::size_t i = 0; i < kGroup; ++i) batch[i] = make<Calls>(random, i);
    while (!neighbour.inbox.try_push(batch))
      if (!drain<Calls>(mine)) std::this_thread::yield();
  }
  for (std::size_t i = 0; i < kBlocks; ++i) release_marked<Calls>(mine.blocks[i], i);

  // The inbox is emptied until nothing more can come. Acquire pairs with the predecessor's release.
  mine.ended.store(true, std::memory_order_release);
  for (bool last = false; !last;) {
    last = predecessor.ended.load(std::memory_order_acquire);
    while (drain<Calls>(mine)) continue;
    if (!last) std::this_thread::yield();
  }
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t loops = options.scaled(kLoops);
  Array<Place> places(threads);

  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    work<Calls>(places[index], places[(index + 1) % threads], places[(index + threads - 1) % threads], loops,
                Random(options.seed() + index));
  });
  report.stop_clock(threads * (kBlocks + loops * kGroup + (loops + 1) / 2 * kGroup));
  report.phase("all freed");
}

constexpr Variant kVariants[] = {{"rptest-1", "--threads 1 --scale 2"},
                                 {"rptest-2", "--threads 2 --scale 0.75"},
                                 {"rptest-8", "--threads 8 --scale 0.2"},
                                 {"rptest-16", "--threads 16 --scale 0.1"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "rptest",
                .threads = {"threads", 2, 1, kMostThreads},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
