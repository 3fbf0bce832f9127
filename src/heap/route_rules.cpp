#include "heap/route_rules.hpp"

namespace nebula::heap::route_rules {
namespace {

constexpr std::uint64_t kSavedLeast = 256 * kKiB;
constexpr std::uint64_t kSparseLeast = kMiB;
constexpr std::uint64_t kWorthOfAll = 64;   // one part in so many of what the process has committed
constexpr std::uint64_t kWorthOfOwn = 16;   // of what the class holds
constexpr std::uint64_t kBlockSlack = 256 * kKiB;
constexpr std::uint64_t kAheadOfMark = 32 * kKiB;  // committed, in a block that a thread has
constexpr std::uint64_t kOne = 256;         // fixed point

bool is_worth(std::uint64_t saved, std::uint64_t least, std::uint64_t committed_bytes) {
  return saved >= least && saved >= committed_bytes / kWorthOfAll;
}

// 1 + 1/2 + … + 1/n.
constexpr std::uint64_t harmonic(std::uint64_t n) {
  std::uint64_t sum = 0;
  for (std::uint64_t i = 1; i <= n; ++i) sum += kOne / i;
  return sum;
}

std::uint64_t granted_in_block(const Seen& seen) { return round_up(seen.mean_size, std::uint64_t{kGranule}); }

}  // namespace

std::uint64_t life_bytes(const Seen& seen) {
  return seen.live * granted_in_block(seen) * seen.allocated / (seen.freed != 0 ? seen.freed : 1);
}

// A page goes back when the last of the objects that touch it is dead. Where each lives on with the same chance from moment to
// moment and as many are made as freed, that takes the k-th harmonic number of mean lives for k objects: by so much are blocks larger
// than what lives in them. Where nothing is freed they are dense; between the two, in proportion to the frees for each allocation.
std::uint64_t bytes_in_blocks(const Seen& seen) {
  const std::uint64_t granted = granted_in_block(seen);
  if (granted == 0 || seen.allocated == 0) return ~std::uint64_t{0};
  const std::uint64_t touching = 1 + (kPageSize + granted - 1) / granted;
  const std::uint64_t freed = seen.freed < seen.allocated ? seen.freed : seen.allocated;
  const std::uint64_t spread = kOne + (harmonic(touching) - kOne) * freed / seen.allocated;
  return seen.live * granted * spread / kOne;
}

bool is_tighter_in_blocks(const Seen& seen, std::uint64_t committed_bytes) {
  if (seen.mean_size == 0 || !is_slow_enough(seen.fastest, Route::kBump)) return false;
  // Beside slots that are all in use: what is free in slabs is used first, whatever the route.
  const std::uint64_t in_slots = seen.live * slot_size(seen.c);
  const std::uint64_t saved = at_least_zero(in_slots, bytes_in_blocks(seen));
  return saved >= in_slots / kWorthOfOwn && is_worth(saved, kSavedLeast, committed_bytes);
}

bool is_sparse(const Seen& seen, std::uint64_t committed_bytes) {
  if (!may_be_spans(seen.c)) return false;
  const std::uint64_t as_spans = bytes_as_spans(seen.c, seen.live);
  return seen.held_bytes >= 2 * as_spans && is_worth(seen.held_bytes - as_spans, kSparseLeast, committed_bytes);
}

void Swing::add(std::uint64_t objects) {
  sum += objects;
  if (objects > most) most = objects;
  ++looks;
}

bool is_steady(SizeClass c, const Swing& swing) {
  return swing.most != 0 && bytes_as_spans(c, swing.sum) > swing.most * slot_size(c) * swing.looks;
}

bool are_blocks_dearer(std::uint64_t block_bytes, std::uint64_t slot_bytes, std::uint64_t threads) {
  return block_bytes > slot_bytes + slot_bytes / 32 + kBlockSlack + threads * kAheadOfMark;
}

}  // namespace nebula::heap::route_rules
