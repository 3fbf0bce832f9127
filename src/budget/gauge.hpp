// A value that goes up and down, and the highest it has been. Relaxed atomics: totals for the report.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/units.hpp"

namespace nebula {

// All threads write it: on lines of its own.
class alignas(2 * kCacheLine) Gauge {
 public:
  void add(std::uint64_t amount) {
    const std::uint64_t value = value_.fetch_add(amount, std::memory_order_relaxed) + amount;
    std::uint64_t peak = peak_.load(std::memory_order_relaxed);
    while (value > peak && !peak_.compare_exchange_weak(peak, value, std::memory_order_relaxed)) {
    }
  }
  // It will be written soon: where another processor wrote it last, its line comes meanwhile, which takes as long as all of a refill
  // where the two share no cache.
  void expect() { asm volatile("prefetchw %0" : : "m"(value_)); }
  void subtract(std::uint64_t amount) { value_.fetch_sub(amount, std::memory_order_relaxed); }

  [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
  std::atomic<std::uint64_t> peak_{0};
};

}  // namespace nebula
