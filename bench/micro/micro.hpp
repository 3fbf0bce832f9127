// What the cases of the microbenchmark share. Only malloc and its siblings are called, so that one binary measures
// whatever allocator is preloaded. An operation ("item") is one allocation with its release, or one realloc where the
// case says so. Each object's first byte is written, as programs do; large ones page by page.
#pragma once

#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "../common/memory.hpp"
#include "../common/random.hpp"

namespace micro {

using namespace bench;

inline std::uint64_t seed_of(const benchmark::State& state) { return static_cast<std::uint64_t>(state.thread_index()); }

// Wall time: with several threads, nanoseconds per operation are those of all threads together.
inline void threads_1_2_8(benchmark::internal::Benchmark* b) { b->UseRealTime()->Threads(1)->Threads(2)->Threads(8); }
inline void threads_1_2(benchmark::internal::Benchmark* b) { b->UseRealTime()->Threads(1)->Threads(2); }
inline void threads_2_8(benchmark::internal::Benchmark* b) { b->UseRealTime()->Threads(2)->Threads(8); }

}  // namespace micro
