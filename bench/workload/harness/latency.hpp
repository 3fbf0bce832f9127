// How long calls take: one histogram of time-stamp ticks a thread and kind of call, in static memory, so that recording
// neither allocates nor shares a cache line. Buckets are powers of two in sixteen steps: a figure is at most 1/16 high.
// The cost of reading the clock twice (about 20 ns) is part of each figure.
#pragma once

#include <x86intrin.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace workload {

enum class Call { kMalloc, kFree };

class Histogram {
 public:
  void record(std::uint64_t ticks) {
    ++counts_[bucket_of(ticks)];
    if (ticks > most_) most_ = ticks;
  }

  void add(const Histogram& other);

  // The upper end of the bucket in which `share` of all calls are reached, in ticks.
  std::uint64_t percentile(double share) const;
  std::uint64_t most() const { return most_; }

 private:
  static constexpr unsigned kStepBits = 4;
  static constexpr std::size_t kSteps = std::size_t{1} << kStepBits;

  static constexpr std::size_t bucket_of(std::uint64_t ticks) {
    if (ticks < kSteps) return ticks;
    const auto shift = static_cast<unsigned>(std::bit_width(ticks)) - 1 - kStepBits;
    return (shift + 1) * kSteps + ((ticks >> shift) & (kSteps - 1));
  }
  static constexpr std::uint64_t end_of(std::size_t bucket) {
    if (bucket < kSteps) return bucket;
    const std::size_t shift = bucket / kSteps - 1;
    return ((kSteps + bucket % kSteps + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 - kStepBits + 1) * kSteps> counts_{};
  std::uint64_t most_ = 0;
};

// A thread's histograms. They come from a pool when the thread records for the first time, and go back with the
// thread; what they counted stays in them.
struct Recorder {
  ~Recorder();
  Histogram& of(Call call) {
    if (!histograms) [[unlikely]]
      claim();
    return histograms[static_cast<std::size_t>(call)];
  }
  void claim();

  Histogram* histograms = nullptr;
};

inline thread_local Recorder recorder;

// All that all threads recorded; to be asked when they have ended, or record no more.
Histogram recorded(Call call);

// Runs `call` and records how long it took.
template <class Function>
auto timed(Call kind, Function call) {
  Histogram& histogram = recorder.of(kind);
  unsigned processor;
  const std::uint64_t before = __rdtscp(&processor);
  auto result = call();
  histogram.record(__rdtscp(&processor) - before);
  return result;
}

}  // namespace workload
