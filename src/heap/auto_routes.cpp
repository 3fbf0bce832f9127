#include "heap/auto_routes.hpp"

#include <atomic>
#include <iterator>

#include "base/start_data.hpp"
#include "budget/size_limits.hpp"
#include "heap/at_rest.hpp"
#include "heap/reclaim.hpp"
#include "heap/requests.hpp"
#include "heap/routes.hpp"
#include "node_heap/tenants.hpp"
#include "os/process.hpp"
#include "slab/slab.hpp"
#include "spans/large.hpp"

namespace nebula::heap::auto_routes {
namespace {

using namespace route_rules;

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr unsigned kPatienceMilliseconds = 1;
constexpr unsigned kPagesOfClassMost = kSmallMax / kPageSize;

// What a class did up to a moment.
struct Counts {
  std::uint64_t allocations = 0;
  std::uint64_t frees = 0;
  Requests requests;
};

// What is remembered of a class from look to look, under all locks.
struct Watched {
  Route route = Route::kPool;  // at the last look; another one now begins all anew
  bool is_begun = false;
  Counts judged;               // when it was last judged
  std::uint64_t judged_at = 0;
  std::uint64_t fastest = 0;   // rate since
  std::uint64_t allocations = 0;  // at the last look
  std::uint64_t looked_at = 0;
  unsigned tighter_windows = 0;
  unsigned sparse_looks = 0;
  Swing swing;
};
constinit Watched watched[kClassEnd];
constinit unsigned dearer_looks = 0;

// What the heap is made of, as far as it is asked for; written by each look anew, under all locks.
struct Holdings {
  std::uint64_t slab_bytes[kClassEnd];  // committed, by class
  std::uint64_t in_blocks[kClassEnd];   // objects, by class
  std::uint64_t spans_of[kPagesOfClassMost + 1];  // objects with so many pages of their own
  std::uint64_t block_bytes;            // committed
};
constinit Holdings holdings = {};

NEBULA_LATER_DATA constinit std::atomic<bool> are_on{false};  // relaxed: set before there are threads
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> next_look_at{0};  // relaxed, these too: each is a fact by itself
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> looks{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> missed_looks{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> look_nanoseconds{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> known_nanoseconds{0};  // of one look

// Of a class that is away: what is left of its allowance. All relaxed: whoever takes the last looks at the clock, and a race there
// grants an allowance once too often or too seldom.
struct Allowance {
  std::atomic<std::int32_t> left;
  std::atomic<std::uint64_t> since;
};
constinit Allowance allowances[kClassEnd] = {};

// Which way classes come, and what is told of it. Taken under all locks and under a gate; nothing is taken under it.
NEBULA_LATER_DATA constinit Lock moving{LockRank::kLeaf};
constinit Facts told NEBULA_GUARDED_BY(moving);
constinit std::uint8_t leaves[kClassEnd] NEBULA_GUARDED_BY(moving) = {};

void grant(SizeClass c, Route route, std::uint64_t now) {
  allowances[index_of(c)].since.store(now, kRelaxed);
  allowances[index_of(c)].left.store(static_cast<std::int32_t>(allowance(route)), kRelaxed);
}

// Nothing, where somebody else has moved it meanwhile or it may not leave.
void move(const Move& wanted) {
  LockGuard guard(moving);
  if (routes::of(wanted.c) != wanted.from) return;
  const bool leaves_pools = wanted.from == Route::kPool;
  if (leaves_pools && (told.away == kAwayMost || leaves[index_of(wanted.c)] == kLeavesMost)) return;
  if (leaves_pools) {
    ++leaves[index_of(wanted.c)];
    ++told.away;
    grant(wanted.c, wanted.to, wanted.at);
  } else {
    --told.away;
  }
  routes::move(wanted.c, wanted.to);
  ++told.moves;
  ++told.moves_to[static_cast<unsigned>(wanted.to)];
  if (told.kept < kMovesKept) told.kept_moves[told.kept++] = wanted;
}

bool may_leave(SizeClass c) {
  LockGuard guard(moving);
  return told.away < kAwayMost && leaves[index_of(c)] < kLeavesMost;
}

// From here on all runs under all locks.

// Its owner takes no lock to rewind: two objects may look like one for a moment.
void note_block(const bump::Block& block) {
  block.for_each_object([](std::uint32_t start, std::uint32_t end) {
    const std::size_t size = (end - start) * kGranule;
    if (size <= kSmallMax) ++holdings.in_blocks[class_index_for(size)];
  });
  holdings.block_bytes += pages::committed_in({first_page_of(block.head()), {block.units().count * kPagesPerUnit}}).bytes();
}

// Returns how many units it takes.
std::size_t note_unit(UnitIndex unit) {
  const unsigned use = unit_use(unit).load(kRelaxed);
  if (is_size_class(use)) {
    // The smaller ones are the most, and nobody asks for them. An empty slab is anybody's.
    if (use >= kFirstWatched && !slab::at(unit).is_empty()) holdings.slab_bytes[use] += pages::committed_in(slab::used_range(unit)).bytes();
    return units_per_slab(size_class(use));
  }
  if (use == static_cast<unsigned>(UnitUse::kBump)) {
    const bump::Block block(unit);
    note_block(block);
    return block.units().count;
  }
  if (use != static_cast<unsigned>(UnitUse::kLargeHead)) return 1;
  const Pages size = pages_for(large::size_of(unit));
  if (size.count <= kPagesOfClassMost) ++holdings.spans_of[size.count];
  return units_for(size).count;
}

void walk() {
  holdings = {};
  const std::uint64_t end = heap_map.mapped_units.load(kRelaxed);
  for (std::uint64_t unit = 0; unit < end;) unit += note_unit(static_cast<UnitIndex>(unit));
}

Counts counts_of(const ClassTotals& totals, SizeClass c) { return {totals.allocations, totals.frees, sampled_requests(c)}; }

void begin_window(Watched& of, const Counts& counts, std::uint64_t now) {
  of.judged = counts;
  of.judged_at = now;
  of.fastest = 0;
}

void begin_watch(Watched& of, const Counts& counts, std::uint64_t now) {
  of.is_begun = true;
  of.allocations = counts.allocations;
  of.looked_at = now;
  begin_window(of, counts, now);
}

// Allocations in kAllowanceMilliseconds since the last look. A window's mean would hide a burst after a long rest.
std::uint64_t note_rate(Watched& of, const Counts& counts, std::uint64_t now) {
  const std::uint64_t milliseconds = now - of.looked_at;
  const std::uint64_t rate = (counts.allocations - of.allocations) * kAllowanceMilliseconds / (milliseconds != 0 ? milliseconds : 1);
  of.allocations = counts.allocations;
  of.looked_at = now;
  if (rate > of.fastest) of.fastest = rate;
  return rate;
}

std::uint64_t mean_of(const Requests& now, const Requests& before) {
  const std::uint64_t count = now.count - before.count;
  return count < kRequestsLeast ? 0 : (now.bytes - before.bytes) / count;
}

Move move_of(const Seen& seen, Route to, Reason reason, std::uint64_t now, std::uint64_t held_before, std::uint64_t held_after) {
  return {seen.c,         Route::kPool, to,        reason,           now,         seen.milliseconds,
          seen.allocated, seen.freed,   seen.live, life_bytes(seen), held_before, held_after};
}

std::uint64_t saved_by(const Move& wanted) { return at_least_zero(wanted.held_before, wanted.held_after); }

// A class in pools: keeps in `best` the move that saves most.
void judge_pooled(SizeClass c, std::uint64_t now, Move& best) {
  Watched& of = watched[index_of(c)];
  const ClassTotals totals = totals_of(NodeHeap::facts_of_all(c), thread_heap::pool_facts(c), sampled::counts(c));
  const Counts counts = counts_of(totals, c);
  if (!of.is_begun) begin_watch(of, counts, now);
  const std::uint64_t rate = note_rate(of, counts, now);
  const std::uint64_t committed = process_account.committed();
  const Seen seen = {c,
                     totals.live - totals.sampled_live,
                     holdings.slab_bytes[index_of(c)],
                     counts.allocations - of.judged.allocations,
                     at_least_zero(counts.frees, of.judged.frees),
                     now - of.judged_at,
                     of.fastest,
                     mean_of(counts.requests, of.judged.requests)};
  of.sparse_looks = is_sparse(seen, committed) && is_slow_enough(rate, Route::kNode) ? of.sparse_looks + 1 : 0;
  Move found;
  if (of.sparse_looks >= kSparseLooks)
    found = move_of(seen, Route::kNode, Reason::kSparse, now, seen.held_bytes, bytes_as_spans(c, seen.live));
  if (seen.allocated >= kJudgedAllocations) {
    of.tighter_windows = is_tighter_in_blocks(seen, committed) ? of.tighter_windows + 1 : 0;
    if (of.tighter_windows >= kTighterWindows)
      found = move_of(seen, Route::kBump, Reason::kTighter, now, seen.live * slot_size(c), bytes_in_blocks(seen));
    begin_window(of, counts, now);
  }
  if (saved_by(found) > saved_by(best) && may_leave(c)) best = found;
}

std::uint64_t slots_for_blocks() {
  std::uint64_t bytes = 0;
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) bytes += holdings.in_blocks[i] * slot_size(size_class(i));
  return bytes;
}

// Objects of all classes lie in blocks side by side, so all are judged together.
void judge_blocks(std::uint64_t now) {
  const std::uint64_t slot_bytes = slots_for_blocks();
  const bool dearer = are_blocks_dearer(holdings.block_bytes, slot_bytes, thread_heap::facts().threads_now);
  dearer_looks = dearer ? dearer_looks + 1 : 0;
  if (dearer_looks < kDearerLooks) return;
  for (unsigned i = kFirstWatched; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    if (routes::of(c) != Route::kBump) continue;
    Move back = {c, Route::kBump, Route::kPool, Reason::kDearer, now};
    back.live = holdings.in_blocks[i];
    back.held_before = holdings.block_bytes;
    back.held_after = slot_bytes;
    move(back);
  }
}

void judge_spans(SizeClass c, std::uint64_t now) {
  Watched& of = watched[index_of(c)];
  of.swing.add(holdings.spans_of[pages_for(slot_size(c)).count]);
  if (of.swing.looks < kSparseLooks) return;
  const Swing swing = of.swing;
  of.swing = {};
  if (!is_steady(c, swing)) return;
  Move back = {c, Route::kNode, Route::kPool, Reason::kSteady, now};
  back.live = swing.most;
  back.held_before = bytes_as_spans(c, swing.sum) / swing.looks;
  back.held_after = swing.most * slot_size(c);
  move(back);
}

void judge(std::uint64_t now) {
  Move best;
  for (unsigned i = kFirstWatched; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    Watched& of = watched[i];
    const Route route = routes::of(c);
    if (of.route != route) of = {};
    of.route = route;
    if (route == Route::kNode) judge_spans(c, now);
    else if (route == Route::kPool && size_limits::of_class(c) == nullptr) judge_pooled(c, now, best);
  }
  judge_blocks(now);
  if (saved_by(best) != 0) move(best);
}

// By one thread mostly; of two, the second does not get the locks.
void look_if_due() {
  const std::uint64_t now = os::coarse_milliseconds();
  if (now >= next_look_at.load(kRelaxed)) look(now);
}

bool look_now(std::uint64_t now) {
  const AllLocks locks(kPatienceMilliseconds);
  if (locks.are_held()) {
    walk();
    judge(now);
  }
  return locks.are_held();
}

// False: more than the class's allowance.
bool spend(SizeClass c, Route route) {
  Allowance& of = allowances[index_of(c)];
  if (of.left.fetch_sub(1, kRelaxed) > 1) return true;
  const std::uint64_t now = os::coarse_milliseconds();
  if (now - of.since.load(kRelaxed) < kAllowanceMilliseconds) return false;
  grant(c, route, now);
  return true;
}

// Under the gate, so that a fork meets nobody who holds the lock.
void come_back(SizeClass c, Route from) {
  const HoldGate hold;
  const std::uint64_t now = os::coarse_milliseconds();
  Move back = {c, from, Route::kPool, Reason::kBusy, now};
  back.milliseconds = now - allowances[index_of(c)].since.load(kRelaxed);
  back.allocated = allowance(from);
  move(back);
}

}  // namespace

void begin() {
  if (are_on.load(kRelaxed) || !watch_ticks(look_if_due)) return;
  sample_requests();
  are_on.store(true, kRelaxed);
}

Route route_for(SizeClass c) {
  const Route route = routes::of(c);
  if (route == Route::kPool || !are_on.load(kRelaxed)) return route;
  const SlowPath slow;
  ThreadHeap* const heap = current.heap;
  if (!slow.entered() || thread_heap::is_none(heap)) return Route::kPool;
  {
    const HoldGate hold;
    if (NodeHeap::at(heap->home).has_free_slots(c, NodeHeap::shard_for(heap->index))) return Route::kPool;
  }
  if (spend(c, route)) return route;
  come_back(c, route);
  return Route::kPool;
}

bool look(std::uint64_t now) {
  if (tenants::exist()) return true;  // blocks have no tenants, and whose memory a class holds is not told apart
  const std::uint64_t started = os::nanoseconds();
  const bool is_done = look_now(now);
  const std::uint64_t took = os::nanoseconds() - started;
  (is_done ? looks : missed_looks).fetch_add(1, kRelaxed);
  look_nanoseconds.fetch_add(took, kRelaxed);
  std::uint64_t known = known_nanoseconds.load(kRelaxed);
  next_look_at.store(now + rest_after(took, known), kRelaxed);
  known_nanoseconds.store(known, kRelaxed);
  return is_done;
}

void reset_in_child() NEBULA_UNCHECKED {
  if (!moving.is_mine()) moving.reset_in_child();
}

const char* name_of(Reason reason) {
  constexpr const char* kNames[] = {"tighter in blocks", "sparse slabs", "allocated often", "blocks hold more", "number is steady"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(Reason::kEnd));
  return kNames[static_cast<std::size_t>(reason)];
}

const char* name_of(Route route) {
  constexpr const char* kNames[] = {"pool", "bump", "node"};
  return kNames[static_cast<std::size_t>(route)];
}

void read(Facts& facts) NEBULA_UNCHECKED {
  if (!are_on.load(kRelaxed)) return;
  const bool is_locked = moving.try_lock_for(kPatienceMilliseconds);
  facts = told;
  if (is_locked) moving.unlock();
  facts.are_on = true;
  facts.looks = looks.load(kRelaxed);
  facts.missed_looks = missed_looks.load(kRelaxed);
  facts.nanoseconds = look_nanoseconds.load(kRelaxed);
}

}  // namespace nebula::heap::auto_routes
