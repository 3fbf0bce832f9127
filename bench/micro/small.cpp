// Small objects, each freed by the thread that allocated it: pairs, bursts, replacement in a live set, growth.
#include <algorithm>
#include <numeric>
#include <vector>

#include "micro.hpp"

namespace micro {
namespace {

constexpr std::size_t kLeast = 16;
constexpr std::size_t kMost = 512;

// The same object again and again.
void lifo_pair(benchmark::State& state) {
  for (auto _ : state) {
    void* object = use(std::malloc(64));
    benchmark::DoNotOptimize(object);
    std::free(object);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(lifo_pair)->Apply(threads_1_2_8);

enum class Order { kAllocation, kRandom };

// 100,000 objects of 16 to 512 bytes, then all of them freed.
void burst(benchmark::State& state, Order order) {
  constexpr std::size_t kObjects = 100'000;
  std::vector<void*> objects(kObjects);
  std::vector<std::uint32_t> free_order(kObjects);
  std::iota(free_order.begin(), free_order.end(), 0);
  Random random(seed_of(state));
  if (order == Order::kRandom)
    for (std::size_t i = kObjects - 1; i > 0; --i) std::swap(free_order[i], free_order[random.below(i + 1)]);
  Sizes sizes(kLeast, kMost, seed_of(state));

  for (auto _ : state) {
    for (auto& object : objects) object = use(std::malloc(sizes.next()));
    benchmark::ClobberMemory();
    for (std::uint32_t i : free_order) std::free(objects[i]);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kObjects));
}
BENCHMARK_CAPTURE(burst, in_order, Order::kAllocation)->Apply(threads_1_2_8);
BENCHMARK_CAPTURE(burst, random_order, Order::kRandom)->Apply(threads_1_2_8);

// Among `range` live objects of 16 to 512 bytes, a random one is freed and another takes its place.
void replace(benchmark::State& state) {
  const auto live = static_cast<std::size_t>(state.range(0));
  Random random(seed_of(state));
  Sizes sizes(kLeast, kMost, seed_of(state));
  std::vector<void*> objects(live);
  for (auto& object : objects) object = use(std::malloc(sizes.next()));
  for (std::size_t i = 0; i < 2 * live; ++i) {  // the order of age is gone before the clock starts
    void*& object = objects[random.below(live)];
    std::free(object);
    object = use(std::malloc(sizes.next()));
  }

  for (auto _ : state) {
    void*& object = objects[random.below(live)];
    std::free(object);
    object = use(std::malloc(sizes.next()));
    benchmark::DoNotOptimize(object);
  }
  for (void* object : objects) std::free(object);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(replace)->ArgName("live")->Arg(10'000)->Arg(100'000)->Apply(threads_1_2_8);

// A million objects of 64 bytes, then freed from the newest to the oldest.
void grow_shrink(benchmark::State& state) {
  constexpr std::size_t kObjects = 1'000'000;
  std::vector<void*> objects(kObjects);
  for (auto _ : state) {
    for (auto& object : objects) object = use(std::malloc(64));
    benchmark::ClobberMemory();
    for (std::size_t i = kObjects; i > 0; --i) std::free(objects[i - 1]);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kObjects));
}
BENCHMARK(grow_shrink)->Apply(threads_1_2);

// calloc; the whole object is read or written by the allocator at most, one byte of each page by us.
void zeroed(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    void* object = use_pages(std::calloc(1, size), size);
    benchmark::DoNotOptimize(object);
    std::free(object);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(zeroed)->ArgName("bytes")->Arg(64)->Arg(kMib)->Apply(threads_1_2_8);

// aligned_alloc, replaced in turn in a ring of 256 live objects.
void aligned(benchmark::State& state) {
  constexpr std::size_t kLive = 256;
  const auto alignment = static_cast<std::size_t>(state.range(0));
  Sizes units(1, 4, seed_of(state));
  std::array<void*, kLive> objects{};
  std::size_t at = 0;
  for (auto _ : state) {
    void*& object = objects[at++ % kLive];
    std::free(object);
    object = use(std::aligned_alloc(alignment, alignment * units.next()));
    benchmark::DoNotOptimize(object);
  }
  for (void* object : objects) std::free(object);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(aligned)->ArgName("alignment")->Arg(64)->Arg(kPage)->Apply(threads_1_2_8);

}  // namespace
}  // namespace micro
