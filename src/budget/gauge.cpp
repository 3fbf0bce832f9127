#include "budget/gauge.hpp"

#include "diag/message.hpp"

namespace nebula {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Whoever subtracts added before; but for frees of what is not free's to give, which must not make a split value of it.
std::uint64_t less(std::uint64_t value, std::uint64_t amount) {
#ifndef NDEBUG
  if (amount > value) fatal::broken("a gauge below zero");
#endif
  return at_least_zero(value, amount);
}

}  // namespace

void Gauge::set_parts(unsigned count) {
  const unsigned most = count < kPartsMost ? count : kPartsMost;
  std::uint32_t before = count_.load(kRelaxed);
  while (before < most && !count_.compare_exchange_weak(before, most, kRelaxed)) {
  }
}

std::uint64_t Gauge::value() const {
  std::uint64_t whole = whole_.load(kRelaxed);
  if ((whole & kSplit) == 0) return whole;
  LockGuard guard(lock_);
  whole = whole_.load(kRelaxed);
  if ((whole & kSplit) == 0) return whole;
  std::uint64_t slack = 0;
  for (unsigned i = 0; i < kPartsMost; ++i) slack += at_least_zero(parts_[i].slack.load(kRelaxed), 1);
  return at_least_zero(whole & ~kSplit, slack);
}

void Gauge::note_peak(std::uint64_t value) {
  std::uint64_t peak = peak_.load(kRelaxed);
  while (value > peak && !peak_.compare_exchange_weak(peak, value, kRelaxed)) {
  }
}

// Of two at a time one may be forgotten: it comes again.
void Gauge::note_step(std::uint64_t amount) {
  const std::uint64_t step = step_.load(kRelaxed);
  step_.store(amount > step ? amount : step - step / 256, kRelaxed);
}

// Parts that run dry every few steps would be more work than one word.
std::uint64_t Gauge::least_slack() const {
  const std::uint64_t steps = kStepsOfSlack * count_.load(kRelaxed) * step_.load(kRelaxed);
  return steps > kLeastSlack ? steps : kLeastSlack;
}

void Gauge::add_elsewhere(std::uint64_t amount, unsigned part) {
  for (;;) {
    // Whole, at the instant of the exchange: then this is the sum of all that was added and subtracted.
    std::uint64_t whole = whole_.load(kRelaxed);
    while ((whole & kSplit) == 0)
      if (whole_.compare_exchange_weak(whole, whole + amount, kRelaxed)) {
        note_step(amount);
        return note_peak(whole + amount);
      }
    share_out_again(part, amount);
    if (try_take(amount, part)) return;
  }
}

void Gauge::subtract_elsewhere(std::uint64_t amount, unsigned part) {
  for (;;) {
    std::uint64_t whole = whole_.load(kRelaxed);
    while ((whole & kSplit) == 0) {
      if (!whole_.compare_exchange_weak(whole, less(whole, amount), kRelaxed)) continue;
      note_step(amount);
      if (has_parts() && at_least_zero(peak_.load(kRelaxed), less(whole, amount)) > 2 * least_slack()) split();
      return;
    }
    share_out_again(part, 0);
    if (try_put(amount, part)) return;
  }
}

// The peak was that before, or is more by now: either way nobody passes it by what is shared out.
void Gauge::split() {
  if (!lock_.try_lock_for(0)) return;
  const std::uint64_t peak = peak_.load(kRelaxed);
  const std::uint64_t count = count_.load(kRelaxed);
  std::uint64_t whole = whole_.load(kRelaxed);
  std::uint64_t share = 0;
  do {
    share = (whole & kSplit) == 0 ? at_least_zero(peak, whole) / count : 0;
  } while (share != 0 && !whole_.compare_exchange_weak(whole, (whole + share * count) | kSplit, kRelaxed));
  if (share != 0)
    for (unsigned i = 0; i < count; ++i) parts_[i].slack.store(share + 1, kRelaxed);
  lock_.unlock();
}

// Where it is split. The part that has too little gets half of what each other has.
void Gauge::share_out_again(unsigned part, std::uint64_t wanted) {
  LockGuard guard(lock_);
  set_parts(part + 1);
  const std::uint64_t whole = whole_.load(kRelaxed);
  if ((whole & kSplit) == 0) return;
  if (parts_[part].slack.load(kRelaxed) > wanted) return;  // somebody else has shared out
  const unsigned count = count_.load(kRelaxed);
  std::uint64_t kept[kPartsMost] = {};
  std::uint64_t slack = 0;
  std::uint64_t others = 0;
  for (unsigned i = 0; i < count; ++i) {
    const std::uint64_t before = at_least_zero(parts_[i].slack.exchange(0, kRelaxed), 1);
    slack += before;
    if (i != part) others += kept[i] = before / 2;
  }
  // All are closed: nobody adds or subtracts, and without the slack this is the value.
  kept[part] = slack - others;
  if (wanted > step_.load(kRelaxed)) step_.store(wanted, kRelaxed);
  const std::uint64_t least = least_slack();
  if (slack < least || slack - least < wanted) return whole_.store(less(whole & ~kSplit, slack), kRelaxed);
  for (unsigned i = 0; i < count; ++i) parts_[i].slack.store(kept[i] + 1, kRelaxed);  // the part's is half of all at least
}

void Gauge::reset_in_child() NEBULA_UNCHECKED {
  if (!lock_.is_held() || lock_.is_mine()) return;
  lock_.reset_in_child();
  std::uint64_t slack = 0;
  for (unsigned i = 0; i < kPartsMost; ++i) slack += at_least_zero(parts_[i].slack.exchange(0, kRelaxed), 1);
  if (is_split()) whole_.store(less(whole_.load(kRelaxed) & ~kSplit, slack), kRelaxed);
}

}  // namespace nebula
