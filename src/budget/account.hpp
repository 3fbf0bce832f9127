// An account: what has been committed, and the limits on it. Charged before a page becomes usable, credited after it
// was given back, so the committed bytes of the process never exceed the hard limit, not by a byte and not for a
// moment, from any number of threads.
//
// Lock-free; every counter is a total that orders nothing else, so all atomics but one are relaxed. The limit holds by the
// compare-and-swap alone: a charge is added only to a value that was seen to leave room for it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace nebula {

inline constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

class Account {
 public:
  void set_limits(std::uint64_t hard, std::uint64_t soft);

  // The last part of a budget is for small requests, so that a program whose large one was refused can unwind and say so.
  enum class Reserve { kMayUse, kMustLeave };
  // False when the hard limit leaves no room: then nothing is charged.
  [[nodiscard]] bool try_charge(std::size_t bytes, Reserve reserve = Reserve::kMayUse);
  void credit(std::size_t bytes);
  // How much the last part is, and how much of it is in use when so much is committed; 0 without a limit.
  [[nodiscard]] std::uint64_t reserve() const;
  [[nodiscard]] std::uint64_t reserve_used_at(std::uint64_t committed_bytes) const;

  // One request of the program that could not be met.
  void count_refusal(std::size_t requested_bytes);
  void count_hit() { hits_.fetch_add(1, std::memory_order_relaxed); }
  void count_reclaimed(std::uint64_t bytes) { reclaimed_.fetch_add(bytes, std::memory_order_relaxed); }

  [[nodiscard]] std::uint64_t committed() const { return committed_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t peak_at_milliseconds() const { return peak_at_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t hard_limit() const { return hard_limit_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t soft_limit() const { return soft_limit_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool is_over_soft_limit() const { return committed() > soft_limit(); }
  [[nodiscard]] std::uint64_t hits() const { return hits_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t reclaimed() const { return reclaimed_.load(std::memory_order_relaxed); }
  // acquire: pairs with the release in count_refusal, so that the largest is no less than that of the refusals seen.
  [[nodiscard]] std::uint64_t refusals() const { return refusals_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t largest_refused() const { return largest_refused_.load(std::memory_order_relaxed); }

 private:
  void raise_peak(std::uint64_t value);

  std::atomic<std::uint64_t> committed_{0};
  std::atomic<std::uint64_t> hard_limit_{kNoLimit};
  std::atomic<std::uint64_t> soft_limit_{kNoLimit};
  std::atomic<std::uint64_t> peak_{0};
  std::atomic<std::uint64_t> peak_at_{0};
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> reclaimed_{0};
  std::atomic<std::uint64_t> refusals_{0};
  std::atomic<std::uint64_t> largest_refused_{0};
};

// Set when a charge is refused on this thread; whoever wants to know why an attempt failed clears it before.
extern constinit thread_local bool refused_by_budget;

// The account of the whole process: every committed page and all metadata.
extern constinit Account process_account;

}  // namespace nebula
