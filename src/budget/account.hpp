// An account: what has been charged, the limits on it, and what happens at them. Memory is charged before a page becomes
// usable, credited after it was given back, so the committed bytes of the process never exceed the hard limit, not by a byte
// and not for a moment, from any number of threads.
//
// Lock-free; every counter is a total that orders nothing else, so all atomics but one are relaxed. The limit holds by the
// compare-and-swap alone: a charge is added only to a value that was seen to leave room for it.
//
// Crossing a limit is news, told once until the account has fallen to 95 % of it. Whoever charges only notes it; it is told
// at the end of the slow path, where no lock is held.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.hpp"
#include "config/budgets.hpp"

namespace nebula {

inline constexpr std::uint64_t kNoLimit = ~std::uint64_t{0};

class alignas(kCacheLine) Account {
 public:
  // One without limits and reserve, of no kind yet: begin() follows.
  constexpr Account() : reserve_most_(0) {}
  explicit constexpr Account(config::AccountKind kind) : kind_(kind) {}
  // Before others use it.
  void begin(config::AccountKind kind, std::uint64_t hard, config::AtLimit at_limit);

  // Of threads that charge meanwhile each goes by the old limits or the new ones. What is charged already stays.
  void set_limits(std::uint64_t hard, std::uint64_t soft);
  void set_at_limit(config::AtLimit at_limit) { at_limit_ = at_limit; }  // before there are threads
  // The same as of limits. relaxed: how much is left for small requests; the hard limit holds without it.
  void set_reserve(std::uint64_t bytes) { reserve_most_.store(bytes, std::memory_order_relaxed); }

  // The last part of a budget is for small requests, so that a program whose large one was refused can unwind and say so.
  enum class Reserve { kMayUse, kMustLeave };
  // False when the hard limit leaves no room: then nothing is charged. Under `warn` it always has room.
  [[nodiscard]] bool try_charge(std::size_t bytes, Reserve reserve = Reserve::kMayUse);
  void credit(std::size_t bytes);
  // For an account that begins anew with what is charged to it now: its peak, and nothing counted.
  void forget_counts();
  // What is there already when the account begins.
  void charge_in_any_case(std::size_t bytes);
  // How much the last part is, and how much of it is in use when so much is committed; 0 without a limit.
  [[nodiscard]] std::uint64_t reserve() const;
  [[nodiscard]] std::uint64_t reserve_used_at(std::uint64_t committed_bytes) const;

  // One request of the program that could not be met; true for the first.
  bool count_refusal(std::size_t requested_bytes);
  void count_hit() { hits_.fetch_add(1, std::memory_order_relaxed); }
  void count_reclaimed(std::uint64_t bytes) { reclaimed_.fetch_add(bytes, std::memory_order_relaxed); }
  void count_wait() { waits_.fetch_add(1, std::memory_order_relaxed); }

  // All of these, for the report; the refusals are read before the largest of them.
  struct Counts {
    std::uint64_t hits = 0;
    std::uint64_t reclaimed_bytes = 0;
    std::uint64_t waits = 0;       // requests that waited for memory
    std::uint64_t over_limit = 0;  // charges that NEBULA_BUDGET_ACTION=warn let pass
    std::uint64_t refusals = 0;
    std::uint64_t largest_refused_bytes = 0;

    void add(const Counts& other);
  };
  [[nodiscard]] Counts counts() const;

  // What has been crossed since the last call: each is told to one caller.
  struct News {
    bool soft = false;
    bool hard = false;
  };
  [[nodiscard]] News take_news();
  void note_hard_limit();

  [[nodiscard]] config::AccountKind kind() const { return kind_; }
  [[nodiscard]] const config::AtLimit& at_limit() const { return at_limit_; }
  [[nodiscard]] std::uint64_t committed() const { return committed_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t peak_at_milliseconds() const { return peak_at_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t hard_limit() const { return hard_limit_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t soft_limit() const { return soft_limit_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool is_over_soft_limit() const { return committed() > soft_limit(); }
  [[nodiscard]] std::uint64_t hits() const { return hits_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t waits() const { return waits_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t over_limit() const { return over_limit_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t reclaimed() const { return reclaimed_.load(std::memory_order_relaxed); }
  // acquire: pairs with the release in count_refusal, so that the largest is no less than that of the refusals seen.
  [[nodiscard]] std::uint64_t refusals() const { return refusals_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t largest_refused() const { return largest_refused_.load(std::memory_order_relaxed); }

 private:
  enum Level : std::uint8_t { kSoft = 1, kHard = 2 };
  [[nodiscard]] std::uint64_t reserve_of(std::uint64_t limit) const;
  void raise_peak(std::uint64_t value);
  void note_crossing(Level level);
  void note_fall(std::uint64_t value);

  config::AccountKind kind_ = config::AccountKind::kEnd;
  config::AtLimit at_limit_ = {};
  std::atomic<std::uint64_t> reserve_most_{64 * 1024};
  std::atomic<std::uint64_t> committed_{0};
  std::atomic<std::uint64_t> hard_limit_{kNoLimit};
  std::atomic<std::uint64_t> soft_limit_{kNoLimit};
  std::atomic<std::uint64_t> peak_{0};
  std::atomic<std::uint64_t> peak_at_{0};
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> waits_{0};
  std::atomic<std::uint64_t> over_limit_{0};  // charges that only `warn` let pass
  std::atomic<std::uint64_t> reclaimed_{0};
  std::atomic<std::uint64_t> refusals_{0};
  std::atomic<std::uint64_t> largest_refused_{0};
  std::atomic<std::uint8_t> above_{0};  // levels crossed and not left again
  std::atomic<std::uint8_t> news_{0};   // levels whose crossing nobody has been told
};

// 95 %: a limit that was reached is left behind, and reclaimed to, there.
[[nodiscard]] constexpr std::uint64_t comfortably_below(std::uint64_t limit) { return limit - limit / 20; }

// The account that refused a charge on this thread last; whoever wants to know why an attempt failed clears it before.
extern constinit thread_local Account* refused_by;

// Some account has news. relaxed: a hint to look.
extern constinit std::atomic<bool> any_news;

// The account of the whole process: every committed page and all metadata.
extern constinit Account process_account;
// This process's part of what it shares with its relatives; see tree.hpp.
extern constinit Account tree_account;

// Committed memory and metadata, charged to every account that all of the process's memory belongs to, or to none.
[[nodiscard]] bool charge_memory(std::size_t bytes, Account::Reserve reserve = Account::Reserve::kMayUse);
void credit_memory(std::size_t bytes);

}  // namespace nebula
