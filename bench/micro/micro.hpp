// What the cases of the microbenchmark share. Only malloc and its siblings are called, so that one binary measures
// whatever allocator is preloaded. An operation ("item") is one allocation with its release, or one realloc where the
// case says so. Each object's first byte is written, as programs do; large ones page by page.
#pragma once

#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace micro {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kKib = 1024;
constexpr std::size_t kMib = 1024 * kKib;

// Random numbers cheap enough to vanish beside an allocation (xorshift64, Marsaglia 2003).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_((seed + 1) * 0x9e3779b97f4a7c15u) {}

  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

  // In [0, limit), without a division.
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(((next() >> 32) * limit) >> 32); }

 private:
  std::uint64_t state_;
};

// Sizes drawn in advance and read in turn.
class Sizes {
 public:
  Sizes(std::size_t least, std::size_t most, std::uint64_t seed) {
    Random random(seed);
    for (auto& size : sizes_) size = static_cast<std::uint32_t>(least + random.below(most - least + 1));
  }
  std::size_t next() { return sizes_[at_++ % sizes_.size()]; }

 private:
  std::array<std::uint32_t, 4096> sizes_;
  std::size_t at_ = 0;
};

inline void* use(void* object) {
  *static_cast<volatile char*>(object) = 1;
  return object;
}

inline void* use_pages(void* object, std::size_t size, std::size_t from = 0) {
  auto* bytes = static_cast<volatile char*>(object);
  for (std::size_t i = from; i < size; i += kPage) bytes[i] = 1;
  return object;
}

inline std::uint64_t seed_of(const benchmark::State& state) { return static_cast<std::uint64_t>(state.thread_index()); }

// Wall time: with several threads, nanoseconds per operation are those of all threads together.
inline void threads_1_2_8(benchmark::internal::Benchmark* b) { b->UseRealTime()->Threads(1)->Threads(2)->Threads(8); }
inline void threads_1_2(benchmark::internal::Benchmark* b) { b->UseRealTime()->Threads(1)->Threads(2); }
inline void threads_2_8(benchmark::internal::Benchmark* b) { b->UseRealTime()->Threads(2)->Threads(8); }

}  // namespace micro
