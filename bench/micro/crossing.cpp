// Objects that cross threads: even threads allocate, each odd one frees what its neighbour sends through a bounded ring.
#include <atomic>
#include <thread>

#include "micro.hpp"

namespace micro {
namespace {

constexpr std::size_t kMostPairs = 4;
constexpr std::int64_t kGroup = 256;  // objects per iteration and thread

// One writer, one reader. Each side keeps its index on a cache line of its own; a full or empty ring yields, so that
// the case also ends when threads outnumber processors.
class Ring {
 public:
  void push(void* object) {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    while (tail - head_.load(std::memory_order_acquire) == kCapacity) std::this_thread::yield();
    slots_[tail % kCapacity] = object;
    tail_.store(tail + 1, std::memory_order_release);
  }

  void* pop() {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    while (tail_.load(std::memory_order_acquire) == head) std::this_thread::yield();
    void* const object = slots_[head % kCapacity];
    head_.store(head + 1, std::memory_order_release);
    return object;
  }

 private:
  static constexpr std::size_t kCapacity = 4096;
  alignas(128) std::atomic<std::size_t> head_{0};
  alignas(128) std::atomic<std::size_t> tail_{0};
  alignas(128) std::array<void*, kCapacity> slots_{};
};

Ring rings[kMostPairs];

// `range` bytes each; 0: mixed, 16 to 512. All threads run the same number of iterations, so rings end empty.
void crossing(benchmark::State& state) {
  const auto pair = static_cast<std::size_t>(state.thread_index() / 2);
  const bool allocates = state.thread_index() % 2 == 0;
  const auto size = static_cast<std::size_t>(state.range(0));
  Sizes sizes(size == 0 ? 16 : size, size == 0 ? 512 : size, seed_of(state));
  Ring& ring = rings[pair];

  for (auto _ : state) {
    if (allocates) {
      for (std::int64_t i = 0; i < kGroup; ++i) ring.push(use(std::malloc(sizes.next())));
    } else {
      for (std::int64_t i = 0; i < kGroup; ++i) std::free(ring.pop());
    }
  }
  if (allocates) state.SetItemsProcessed(state.iterations() * kGroup);
}
BENCHMARK(crossing)->ArgName("bytes")->Arg(0)->Arg(64)->Arg(512)->Apply(threads_2_8);

}  // namespace
}  // namespace micro
