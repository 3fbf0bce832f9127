#include "budget/account.hpp"

#include "os/process.hpp"

namespace nebula {

constinit Account process_account;
constinit thread_local bool refused_by_budget = false;

void Account::set_limits(std::uint64_t hard, std::uint64_t soft) {
  hard_limit_.store(hard, std::memory_order_relaxed);
  soft_limit_.store(soft, std::memory_order_relaxed);
}

bool Account::try_charge(std::size_t bytes, Reserve reserve) {
  if (bytes == 0) return true;
  std::uint64_t limit = hard_limit();
  if (reserve == Reserve::kMustLeave) limit -= this->reserve();
  std::uint64_t before = committed();
  do {
    if (before > limit || bytes > limit - before) {
      refused_by_budget = true;
      return false;
    }
  } while (!committed_.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
  raise_peak(before + bytes);
  return true;
}

std::uint64_t Account::reserve() const {
  constexpr std::uint64_t kReserve = 64 * 1024;
  const std::uint64_t limit = hard_limit();
  if (limit == kNoLimit) return 0;
  return limit / 8 < kReserve ? limit / 8 : kReserve;
}

std::uint64_t Account::reserve_used_at(std::uint64_t committed_bytes) const {
  if (hard_limit() == kNoLimit) return 0;
  const std::uint64_t start = hard_limit() - reserve();
  return committed_bytes > start ? committed_bytes - start : 0;
}

void Account::credit(std::size_t bytes) { committed_.fetch_sub(bytes, std::memory_order_relaxed); }

void Account::raise_peak(std::uint64_t value) {
  std::uint64_t peak = peak_.load(std::memory_order_relaxed);
  while (value > peak) {
    if (!peak_.compare_exchange_weak(peak, value, std::memory_order_relaxed)) continue;
    peak_at_.store(os::coarse_milliseconds(), std::memory_order_relaxed);
    return;
  }
}

void Account::count_refusal(std::size_t requested_bytes) {
  std::uint64_t largest = largest_refused();
  while (requested_bytes > largest &&
         !largest_refused_.compare_exchange_weak(largest, requested_bytes, std::memory_order_relaxed)) {
  }
  // release: pairs with the acquire in refusals().
  refusals_.fetch_add(1, std::memory_order_release);
}

}  // namespace nebula
