#include "sync/lock.hpp"

#include "diag/message.hpp"
#include "os/process.hpp"

namespace nebula {

constinit thread_local bool in_slow_path = false;
constinit thread_local bool holds_every_lock = false;

namespace {

constexpr std::uint32_t kSleepers = 1;

// Tells threads apart: their thread-local storage lies at different addresses. Two threads whose storage is a multiple
// of 64 GiB apart share a token; that costs nothing but the answer of is_mine().
std::uint32_t my_token() {
  const auto token = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(&in_slow_path) >> 4) & ~kSleepers;
  return token != 0 ? token : 2;
}

void relax() { __builtin_ia32_pause(); }

#ifndef NDEBUG
// How many locks of each rank this thread holds.
constexpr unsigned place_of(LockRank rank) {
  return static_cast<unsigned>(static_cast<int>(rank) - static_cast<int>(LockRank::kRegistry));
}
constinit thread_local std::uint8_t held[place_of(LockRank::kEnd)] = {};
// Relaxed: set before there are threads.
constinit std::atomic<bool> are_gates_expected{false};
#endif

}  // namespace

void Lock::expect_gates([[maybe_unused]] bool expected) {
#ifndef NDEBUG
  are_gates_expected.store(expected, std::memory_order_relaxed);
#endif
}

std::uint32_t thread_token() { return my_token(); }

void Lock::note_acquired() {
#ifndef NDEBUG
  for (unsigned above = place_of(rank_) + 1; above < place_of(LockRank::kEnd); ++above)
    if (held[above] != 0) fatal::broken("a lock taken against its rank");
  const bool has_gate = held[place_of(LockRank::kGate)] != 0 || held[place_of(LockRank::kTenants)] != 0;
  const bool needs_gate = rank_ == LockRank::kClass || rank_ == LockRank::kSpans || rank_ == LockRank::kGauge;
  if (needs_gate && !has_gate && are_gates_expected.load(std::memory_order_relaxed))
    fatal::broken("a lock of the heap taken without a gate");
  count_held();
#endif
}

void Lock::count_held() {
#ifndef NDEBUG
  ++held[place_of(rank_)];
#endif
}

void Lock::note_released() {
#ifndef NDEBUG
  --held[place_of(rank_)];
#endif
}

bool Lock::try_lock() {
  std::uint32_t free = 0;
  // acquire: pairs with the release in unlock() of the last holder.
  if (!word_.compare_exchange_strong(free, my_token(), std::memory_order_acquire, std::memory_order_relaxed))
    return false;
  note_acquired();
  return true;
}

void Lock::lock() {
  if (holds_every_lock || try_lock()) return;
  lock_slow(my_token());
  note_acquired();
}

void Lock::lock_slow(std::uint32_t token) {
  constexpr int kSpins = 60;
  bool acquired = false;
  for (int i = 0; i < kSpins && !acquired; ++i) {
    relax();
    std::uint32_t free = 0;
    acquired = word_.load(std::memory_order_relaxed) == 0 &&
               word_.compare_exchange_weak(free, token, std::memory_order_acquire, std::memory_order_relaxed);
  }
  while (!acquired) {
    std::uint32_t seen = word_.load(std::memory_order_relaxed);
    if (seen == 0) {
      // Others may sleep still: take it with the mark, so that our unlock wakes the next one.
      acquired = word_.compare_exchange_weak(seen, token | kSleepers, std::memory_order_acquire,
                                             std::memory_order_relaxed);
    } else if ((seen & kSleepers) != 0 || word_.compare_exchange_weak(seen, seen | kSleepers,
                                                                      std::memory_order_relaxed,
                                                                      std::memory_order_relaxed)) {
      os::wait_while(word_, seen | kSleepers);
    }
  }
  contended_.store(contended_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

bool Lock::try_lock_for(unsigned milliseconds) {
  if (holds_every_lock || try_lock()) return true;
  if (milliseconds == 0 || is_mine()) return false;
  const std::uint64_t deadline = os::nanoseconds() + std::uint64_t{milliseconds} * 1'000'000;
  do {
    os::yield_processor();
    if (try_lock()) return true;
  } while (os::nanoseconds() < deadline);
  return false;
}

void Lock::unlock() {
  if (holds_every_lock) return;
  note_released();
  // release: what was done under the lock is seen by the next holder's acquire.
  if ((word_.exchange(0, std::memory_order_release) & kSleepers) != 0) os::wake_one(word_);
}

void Lock::lock_with_all_others() {
  if (!holds_every_lock) return;
  word_.store(my_token(), std::memory_order_relaxed);
  count_held();  // behind locks of higher ranks, perhaps
}

bool Lock::is_mine() const { return (word_.load(std::memory_order_relaxed) & ~kSleepers) == my_token(); }

}  // namespace nebula
