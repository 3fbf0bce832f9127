// How many threads are in the middle of something, exact even when one of them is interrupted by a signal whose handler
// forks: in the child the others are forgotten at once, and what the interrupted thread still ends there was begun in an
// earlier era and is not subtracted. That thread is forgotten too; nobody else runs in a child yet.
//
// The era and the count are one word, so there is no moment at which the handler could find one without the other.
#pragma once

#include <atomic>
#include <cstdint>

namespace nebula {

class Tally {
 public:
  // The era, to be handed to end().
  [[nodiscard]] std::uint32_t begin() {
    // relaxed, like the rest: a lock guards each tally; atomic only because a signal may come between load and store.
    return static_cast<std::uint32_t>(word_.fetch_add(1, std::memory_order_relaxed) >> kEraShift);
  }
  void end(std::uint32_t era) {
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while (word >> kEraShift == era &&
           !word_.compare_exchange_weak(word, word - 1, std::memory_order_relaxed, std::memory_order_relaxed)) {
    }
  }
  [[nodiscard]] std::uint32_t count() const {
    return static_cast<std::uint32_t>(word_.load(std::memory_order_relaxed));
  }
  // In the child of fork; relaxed, because there is one thread.
  void forget_in_child() {
    word_.store(((word_.load(std::memory_order_relaxed) >> kEraShift) + 1) << kEraShift, std::memory_order_relaxed);
  }

 private:
  static constexpr unsigned kEraShift = 32;
  std::atomic<std::uint64_t> word_{0};
};

}  // namespace nebula
