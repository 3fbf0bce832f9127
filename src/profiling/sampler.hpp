// Which allocations are samples. Each is one by lot, on its own: an object of s bytes with the probability 1 − e^(−s/period),
// as if every byte allocated were marked by a Poisson process of one mark in `period` bytes. So no order of allocations, no
// refill and no loop can make an object more or less likely to be seen, and what was seen, divided by its probability, is
// an unbiased estimate of what there was (Horvitz and Thompson 1952).
//
// All sizes are those of slots or pages, like the report's. Thread-safe; nothing here waits or allocates.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace nebula::profiling {

// Mean bytes between samples; 0 while nothing is sampled. Set once, before main; relaxed: nothing else hangs on it.
extern constinit std::atomic<std::uint64_t> period_bytes;

[[nodiscard]] inline std::uint64_t period() { return period_bytes.load(std::memory_order_relaxed); }
[[nodiscard]] inline bool is_on() { return period() != 0; }

// How many allocations of `bytes` each to the next sample, that one included: 1 or more, geometrically distributed. The
// state is the caller's own.
[[nodiscard]] std::uint64_t draw_distance(std::uint64_t& random_state, std::size_t bytes);
// A state for one thread, unlike any other's.
[[nodiscard]] std::uint64_t fresh_random_state();
// Whether this one allocation is a sample; for what has no distance drawn ahead.
[[nodiscard]] bool draw(std::size_t bytes);

// What one sample of `bytes` stands for. Counts are in parts of 1/256.
inline constexpr unsigned kFractionBits = 8;
struct Weight {
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
  // Of the estimate of bytes, in parts of 2^-20 of the square of the period.
  std::uint64_t variance = 0;
};
inline constexpr unsigned kVarianceBits = 20;
[[nodiscard]] Weight weight_of(std::size_t bytes, std::uint64_t period);

// The logarithm and 1 − e^-x, which libc alone does not have; for 0 < x.
[[nodiscard]] double natural_logarithm(double x);
[[nodiscard]] double one_minus_exponential(double x);

}  // namespace nebula::profiling
