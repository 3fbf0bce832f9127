#include "budget/account.hpp"

#include "base/start_data.hpp"
#include "budget/tree.hpp"
#include "os/process.hpp"

namespace nebula {

NEBULA_START_DATA constinit Account process_account{config::AccountKind::kProcess};
NEBULA_START_DATA constinit Account tree_account{config::AccountKind::kTree};
constinit thread_local Account* refused_by = nullptr;
NEBULA_START_DATA constinit std::atomic<bool> any_news{false};

void Account::set_limits(std::uint64_t hard, std::uint64_t soft) {
  hard_limit_.store(hard, std::memory_order_relaxed);
  soft_limit_.store(soft, std::memory_order_relaxed);
  note_fall(committed());  // a limit that was crossed may lie above now, and can be crossed anew
}

void Account::begin(config::AccountKind kind, std::uint64_t hard, config::AtLimit at_limit) {
  kind_ = kind;
  set_limits(hard, kNoLimit);
  set_reserve(0);
  set_at_limit(at_limit);
}

void Account::charge_in_any_case(std::size_t bytes) {
  const std::uint64_t value = committed_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  raise_peak(value);
  if (value > hard_limit()) note_hard_limit();
}

void Account::forget_counts() {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  peak_.store(committed(), kRelaxed);
  for (std::atomic<std::uint64_t>* const count : {&hits_, &waits_, &over_limit_, &reclaimed_, &refusals_, &largest_refused_})
    count->store(0, kRelaxed);
  above_.store(0, kRelaxed);
  news_.store(0, kRelaxed);
}

bool Account::try_charge(std::size_t bytes, Reserve reserve) {
  if (bytes == 0) return true;
  std::uint64_t limit = hard_limit();
  if (reserve == Reserve::kMustLeave) limit -= reserve_of(limit);
  std::uint64_t before = committed();
  bool is_over = false;
  do {
    is_over = before > limit || bytes > limit - before;
    if (is_over && at_limit_.action != config::BudgetAction::kWarn) {
      refused_by = this;
      return false;
    }
  } while (!committed_.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
  raise_peak(before + bytes);
  if (before + bytes > soft_limit()) note_crossing(kSoft);
  if (is_over) {
    over_limit_.fetch_add(1, std::memory_order_relaxed);
    note_hard_limit();
  }
  return true;
}

void Account::credit(std::size_t bytes) {
  const std::uint64_t before = committed_.fetch_sub(bytes, std::memory_order_relaxed);
  if (above_.load(std::memory_order_relaxed) != 0) [[unlikely]] note_fall(before - bytes);
}

// The limit is read once by whoever asks: it may change meanwhile.
std::uint64_t Account::reserve_of(std::uint64_t limit) const {
  if (limit == kNoLimit) return 0;
  const std::uint64_t most = reserve_most_.load(std::memory_order_relaxed);
  return limit / 8 < most ? limit / 8 : most;
}

std::uint64_t Account::reserve() const { return reserve_of(hard_limit()); }

std::uint64_t Account::reserve_used_at(std::uint64_t committed_bytes) const {
  const std::uint64_t limit = hard_limit();
  if (limit == kNoLimit) return 0;
  const std::uint64_t reserve = reserve_of(limit);
  const std::uint64_t start = limit - reserve;
  if (committed_bytes <= start) return 0;
  return committed_bytes < limit ? committed_bytes - start : reserve;
}

void Account::raise_peak(std::uint64_t value) {
  std::uint64_t peak = peak_.load(std::memory_order_relaxed);
  while (value > peak) {
    if (!peak_.compare_exchange_weak(peak, value, std::memory_order_relaxed)) continue;
    peak_at_.store(os::coarse_milliseconds(), std::memory_order_relaxed);
    return;
  }
}

void Account::note_hard_limit() { note_crossing(kHard); }

void Account::note_crossing(Level level) {
  if ((above_.load(std::memory_order_relaxed) & level) != 0) return;
  if ((above_.fetch_or(level, std::memory_order_relaxed) & level) != 0) return;
  news_.fetch_or(level, std::memory_order_relaxed);
  any_news.store(true, std::memory_order_relaxed);
}

void Account::note_fall(std::uint64_t value) {
  std::uint8_t left = 0;
  if (value <= comfortably_below(soft_limit())) left |= kSoft;
  if (value <= comfortably_below(hard_limit())) left |= kHard;
  if (left != 0) above_.fetch_and(static_cast<std::uint8_t>(~left), std::memory_order_relaxed);
}

Account::News Account::take_news() {
  if (news_.load(std::memory_order_relaxed) == 0) return {};
  const std::uint8_t levels = news_.exchange(0, std::memory_order_relaxed);
  return {(levels & kSoft) != 0, (levels & kHard) != 0};
}

bool Account::count_refusal(std::size_t requested_bytes) {
  std::uint64_t largest = largest_refused();
  while (requested_bytes > largest &&
         !largest_refused_.compare_exchange_weak(largest, requested_bytes, std::memory_order_relaxed)) {
  }
  // release: pairs with the acquire in refusals().
  return refusals_.fetch_add(1, std::memory_order_release) == 0;
}

Account::Counts Account::counts() const {
  Counts counts = {hits(), reclaimed(), waits(), over_limit(), refusals(), 0};
  if (counts.refusals != 0) counts.largest_refused_bytes = largest_refused();
  return counts;
}

void Account::Counts::add(const Counts& other) {
  hits += other.hits;
  reclaimed_bytes += other.reclaimed_bytes;
  waits += other.waits;
  over_limit += other.over_limit;
  refusals += other.refusals;
  if (other.largest_refused_bytes > largest_refused_bytes) largest_refused_bytes = other.largest_refused_bytes;
}

// The tree first: so the process's peak never has what the tree refused.
bool charge_memory(std::size_t bytes, Account::Reserve reserve) {
  if (!tree::try_charge(bytes)) return false;
  if (process_account.try_charge(bytes, reserve)) return true;
  tree::credit(bytes);
  return false;
}

void credit_memory(std::size_t bytes) {
  process_account.credit(bytes);
  tree::credit(bytes);
}

}  // namespace nebula
