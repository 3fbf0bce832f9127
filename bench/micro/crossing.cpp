// Objects that cross threads: even threads allocate, each odd one frees what its neighbour sends through a bounded ring.
#include "../common/ring.hpp"
#include "micro.hpp"

namespace micro {
namespace {

constexpr std::size_t kMostPairs = 4;
constexpr std::int64_t kGroup = 256;  // objects per iteration and thread

Ring<void*, 4096> rings[kMostPairs];

// `range` bytes each; 0: mixed, 16 to 512. All threads run the same number of iterations, so rings end empty.
void crossing(benchmark::State& state) {
  const auto pair = static_cast<std::size_t>(state.thread_index() / 2);
  const bool allocates = state.thread_index() % 2 == 0;
  const auto size = static_cast<std::size_t>(state.range(0));
  Sizes sizes(size == 0 ? 16 : size, size == 0 ? 512 : size, seed_of(state));
  auto& ring = rings[pair];

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
