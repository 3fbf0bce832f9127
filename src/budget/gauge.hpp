// A value that goes up and down, and the highest it has been: exact, however many threads write it.
//
// Alone, the value is one word that all of them write, and its line goes from processor to processor with every refill and every
// flush. While it is far enough below its peak, it is split: what lies between the two, the slack, is shared out to parts. Whoever adds takes
// from his part's slack, whoever subtracts puts there, and as long as slack is there the peak cannot be passed: nobody has to know the sum.
// When a part has not enough, all parts are closed, one after the other, and what they hold is counted and shared out anew, or, where
// little is left for the steps that it goes in, the value is whole again: only whole it can pass its peak. A closed part makes everybody
// wait, those who subtract, too, so that the sum is one that there was.
//
// The idea of spending from local allowances what is known to be left altogether is that of escrow (O'Neil, "The escrow transactional method",
// ACM TODS 11, 1986).
#pragma once

#include <atomic>
#include <cstdint>

#include "base/units.hpp"
#include "sync/lock.hpp"

namespace nebula {

// Its writers hold a gate, so that a fork meets none of them. Relaxed atomics: each step is one change of one word, and whoever changes several
// holds the lock.
class Gauge {
 public:
  static constexpr unsigned kPartsMost = 8;
  // On a line of its own, and the next, which the processor fetches along.
  struct alignas(2 * kCacheLine) Part {
    std::atomic<std::uint64_t> slack{0};  // and 1; 0: closed
  };

  constexpr explicit Gauge(Part (&parts)[kPartsMost]) : parts_(parts) {}

  // How many parts there are from now on, not less than before; with one it is never split. Any part may be told to add and subtract.
  void set_parts(unsigned count);

  void add(std::uint64_t amount, unsigned part) {
    if (!has_parts() || !try_take(amount, part)) add_elsewhere(amount, part);
  }
  void subtract(std::uint64_t amount, unsigned part) {
    if (!has_parts() || !try_put(amount, part)) subtract_elsewhere(amount, part);
  }
  // The part will be written soon.
  void expect(unsigned part) {
    if (has_parts() && parts_[part].slack.load(std::memory_order_relaxed) == 0) asm volatile("prefetchw %0" : : "m"(whole_));
  }

  // Exact while nobody writes; beside writers off by what goes from part to part meanwhile, at most the slack, and never above the peak. Under a gate,
  // as adding is: may wait for who shares out.
  [[nodiscard]] std::uint64_t value() const;
  [[nodiscard]] std::uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool is_split() const { return (whole_.load(std::memory_order_relaxed) & kSplit) != 0; }

  // In the child of a fork that could not wait for gates: a thread that is not there may have been sharing out. What it had in hand is lost, so the
  // value is too high by no more than that, and never above the peak.
  void reset_in_child();

 private:
  static constexpr std::uint64_t kSplit = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kLeastSlack = 64 * kKiB;
  static constexpr std::uint64_t kStepsOfSlack = 2;  // for each part

  // A program of one thread touches no part.
  [[nodiscard]] bool has_parts() const { return count_.load(std::memory_order_relaxed) > 1; }

  // From the part's slack, or back to it; false where it has not enough, or is closed.
  bool try_take(std::uint64_t amount, unsigned part) {
    std::atomic<std::uint64_t>& slack = parts_[part].slack;
    std::uint64_t here = slack.load(std::memory_order_relaxed);
    while (here > amount)
      if (slack.compare_exchange_weak(here, here - amount, std::memory_order_relaxed)) return true;
    return false;
  }
  bool try_put(std::uint64_t amount, unsigned part) {
    std::atomic<std::uint64_t>& slack = parts_[part].slack;
    std::uint64_t here = slack.load(std::memory_order_relaxed);
    while (here != 0)
      if (slack.compare_exchange_weak(here, here + amount, std::memory_order_relaxed)) return true;
    return false;
  }
  void add_elsewhere(std::uint64_t amount, unsigned part);
  void subtract_elsewhere(std::uint64_t amount, unsigned part);
  void note_peak(std::uint64_t value);
  void note_step(std::uint64_t amount);
  [[nodiscard]] std::uint64_t least_slack() const;
  void split();
  void share_out_again(unsigned part, std::uint64_t wanted);

  // What everybody reads lies apart from what everybody may write.
  alignas(2 * kCacheLine) Part* const parts_;
  std::atomic<std::uint32_t> count_{1};
  // The value; with kSplit, and what is slack in the parts: then it changes under the lock alone.
  alignas(2 * kCacheLine) std::atomic<std::uint64_t> whole_{0};
  std::atomic<std::uint64_t> peak_{0};
  std::atomic<std::uint64_t> step_{0};  // about the largest of the last some hundred amounts, while whole
  mutable Lock lock_{LockRank::kGauge};
};

}  // namespace nebula
