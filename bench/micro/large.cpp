// Buffers that grow, and objects above the small classes; each of their pages is written.
#include "micro.hpp"

namespace micro {
namespace {

enum class Step { kDouble, kQuarter };

// A buffer grows from range(0) to range(1) bytes, a page is written wherever it grew. An operation is one realloc.
void grow_buffer(benchmark::State& state, Step step) {
  const auto first = static_cast<std::size_t>(state.range(0));
  const auto last = static_cast<std::size_t>(state.range(1));
  std::int64_t operations = 0;
  for (auto _ : state) {
    std::size_t size = first;
    void* buffer = use_pages(std::malloc(size), size);
    while (size < last) {
      const std::size_t before = size;
      size += step == Step::kDouble ? size : size / 4;
      if (size > last) size = last;
      buffer = use_pages(std::realloc(buffer, size), size, before);
      benchmark::DoNotOptimize(buffer);
      ++operations;
    }
    std::free(buffer);
  }
  state.SetItemsProcessed(operations);
}

void small_buffers(benchmark::internal::Benchmark* b) {
  b->ArgNames({"from", "to"})->Args({16, kMib})->Apply(threads_1_2_8);
}
void large_buffers(benchmark::internal::Benchmark* b) {
  b->ArgNames({"from", "to"})->Args({kMib, 64 * kMib})->Apply(threads_1_2);
}
BENCHMARK_CAPTURE(grow_buffer, doubling, Step::kDouble)->Apply(small_buffers);
BENCHMARK_CAPTURE(grow_buffer, by_quarters, Step::kQuarter)->Apply(small_buffers);
BENCHMARK_CAPTURE(grow_buffer, doubling, Step::kDouble)->Apply(large_buffers);
BENCHMARK_CAPTURE(grow_buffer, by_quarters, Step::kQuarter)->Apply(large_buffers);

// Among 64 live objects of 36 KiB to 1 MiB, a random one is replaced.
void large_replace(benchmark::State& state) {
  constexpr std::size_t kLive = 64;
  Random random(seed_of(state));
  Sizes sizes(36 * kKib, kMib, seed_of(state));
  std::array<void*, kLive> objects{};
  for (auto _ : state) {
    void*& object = objects[random.below(kLive)];
    std::free(object);
    const std::size_t size = sizes.next();
    object = use_pages(std::malloc(size), size);
    benchmark::DoNotOptimize(object);
  }
  for (void* object : objects) std::free(object);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(large_replace)->Apply(threads_1_2_8);

void large_pair(benchmark::State& state) {
  constexpr std::size_t kSize = 4 * kMib;
  for (auto _ : state) {
    void* object = use_pages(std::malloc(kSize), kSize);
    benchmark::DoNotOptimize(object);
    std::free(object);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(large_pair)->Apply(threads_1_2_8);

}  // namespace
}  // namespace micro

BENCHMARK_MAIN();
