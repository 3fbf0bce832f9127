// One side allocates, the other frees: half of the threads fill batches, the other half empty them; a bounded queue
// lies between the two of a pair. After xmalloc-test of Lever and Boreham, "malloc() performance in a multithreaded
// Linux environment" (USENIX 2000).
#include "../common/ring.hpp"
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kBatch = 120;
constexpr std::size_t kQueued = 32;  // batches between the two of a pair, at most
constexpr std::size_t kBatches = 50'000;
constexpr unsigned kFirst = 4, kLast = 9;  // powers of two: 16 to 512 bytes

using Batch = std::array<void*, kBatch>;
using Queue = Ring<Batch, kQueued>;

template <class Calls>
void fill(Queue& queue, std::size_t batches, std::uint64_t seed) {
  Random random(seed);
  Batch batch;
  for (std::size_t b = 0; b < batches; ++b) {
    for (std::size_t i = 0; i < kBatch; ++i) batch[i] = allocate_marked<Calls>(random.skewed(kFirst, kLast), b ^ i);
    queue.push(batch);
  }
}

template <class Calls>
void drain(Queue& queue, std::size_t batches) {
  for (std::size_t b = 0; b < batches; ++b) {
    const Batch batch = queue.pop();
    for (std::size_t i = 0; i < kBatch; ++i) release_marked<Calls>(batch[i], b ^ i);
  }
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t batches = options.scaled(kBatches);
  Array<Queue> queues(threads / 2);

  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    Queue& queue = queues[index / 2];
    if (index % 2 == 0)
      fill<Calls>(queue, batches, options.seed() + index);
    else
      drain<Calls>(queue, batches);
  });
  report.stop_clock(threads / 2 * batches * kBatch);
}

constexpr Variant kVariants[] = {{"xmalloc-2", "--threads 2"},
                                 {"xmalloc-8", "--threads 8 --scale 0.25"},
                                 {"xmalloc-16", "--threads 16 --scale 0.125"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "xmalloc",
                .threads = {.name = "threads", .value = 2, .least = 2, .most = kMostThreads, .step = 2},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
