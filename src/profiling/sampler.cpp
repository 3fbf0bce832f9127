#include "profiling/sampler.hpp"

#include <bit>

#include "base/start_data.hpp"
#include "os/process.hpp"

namespace nebula::profiling {

NEBULA_START_DATA constinit std::atomic<std::uint64_t> period_bytes{0};

namespace {

constexpr std::uint64_t kGolden = 0x9e37'79b9'7f4a'7c15;
constinit std::atomic<std::uint64_t> common_state{0};  // relaxed: only has to differ each time

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64's finaliser.
std::uint64_t mix(std::uint64_t value) {
  value = (value ^ value >> 30) * 0xbf58'476d'1ce4'e5b9;
  value = (value ^ value >> 27) * 0x94d0'49bb'1331'11eb;
  return value ^ value >> 31;
}

// Exponentially distributed with mean 1, from 64 random bits: never 0, at most 37.
double exponential(std::uint64_t bits) {
  constexpr double kScale = 1.0 / (std::uint64_t{1} << 52);
  return -natural_logarithm((static_cast<double>(bits >> 12) + 0.5) * kScale);
}

std::uint64_t rounded(double value) { return static_cast<std::uint64_t>(value + 0.5); }

}  // namespace

double natural_logarithm(double x) {
  constexpr double kLogarithmOf2 = 0.693147180559945309417;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  auto exponent = static_cast<int>(bits >> 52) - 1023;
  auto mantissa = std::bit_cast<double>((bits & 0x000f'ffff'ffff'ffff) | 0x3ff0'0000'0000'0000);
  if (mantissa > 1.41421356) {
    mantissa /= 2;
    ++exponent;
  }
  // ln m = 2 artanh((m − 1) / (m + 1)), whose argument is below 0.172 here: ten terms are exact to the last bits.
  const double z = (mantissa - 1) / (mantissa + 1);
  double sum = 0;
  for (int n = 19; n >= 1; n -= 2) sum = sum * z * z + 1.0 / n;
  return 2 * z * sum + exponent * kLogarithmOf2;
}

double one_minus_exponential(double x) {
  if (x > 40) return 1;
  int halvings = 0;
  for (; x > 1.0 / 16; x /= 2) ++halvings;
  double sum = 0;
  for (int n = 9; n >= 1; --n) sum = x / n * (1 - sum);  // x − x²/2 + x³/6 − …
  for (; halvings != 0; --halvings) sum *= 2 - sum;      // 1 − e^-2x from 1 − e^-x
  return sum;
}

std::uint64_t draw_distance(std::uint64_t& random_state, std::size_t bytes) {
  random_state += kGolden;
  // The marks passed in k allocations are none with probability e^(−ks/period): the whole part of an exponential is geometric.
  return static_cast<std::uint64_t>(exponential(mix(random_state)) * static_cast<double>(period()) / static_cast<double>(bytes)) + 1;
}

std::uint64_t fresh_random_state() {
  // Added, not drawn: two threads cannot get the same one, and what the kernel gave keeps it from being foreseen.
  if (common_state.load(std::memory_order_relaxed) == 0) common_state.fetch_add(os::random_start_value() | 1, std::memory_order_relaxed);
  return mix(common_state.fetch_add(kGolden, std::memory_order_relaxed));
}

bool draw(std::size_t bytes) {
  return exponential(fresh_random_state()) * static_cast<double>(period()) < static_cast<double>(bytes);
}

Weight weight_of(std::size_t bytes, std::uint64_t period) {
  const double size = static_cast<double>(bytes);
  const double relative = size / static_cast<double>(period);
  const double probability = one_minus_exponential(relative);
  constexpr double kOne = 1 << kFractionBits;
  const double share = relative / probability;
  return {rounded(kOne / probability), rounded(kOne * size / probability),
          rounded(share * share * (1 - probability) * (1 << kVarianceBits))};
}

}  // namespace nebula::profiling
