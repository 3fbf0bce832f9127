#include "heap/reclaim.hpp"

#include "base/start_data.hpp"
#include "budget/heap_accounts.hpp"
#include "bump/bump.hpp"
#include "diag/message.hpp"
#include "heap/holes.hpp"
#include "machine/memory_limit.hpp"
#include "os/process.hpp"
#include "spans/large.hpp"

namespace nebula::heap {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::uint64_t kTickMilliseconds = 100;
constexpr std::uint64_t kLimitsMilliseconds = 10'000;
constexpr std::size_t kAll = ~std::size_t{0};

constexpr unsigned kWatchersMost = 4;
constinit std::atomic<Watcher> tick_watchers[kWatchersMost] = {};  // relaxed: set before there are threads

struct Counts {
  std::atomic<std::uint64_t> runs{0};  // relaxed, all of these: totals for the report
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::uint64_t> nanoseconds{0};
};
NEBULA_LATER_DATA constinit Counts counts[static_cast<std::size_t>(Step::kEnd)];

NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> soft_crossings{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> soft_let_go{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> soft_busy_until{0};  // nanoseconds
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> ticked_at{0};        // coarse milliseconds
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> limits_read_at{0};   // the same
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> spares_looked_at{0};  // the same

NEBULA_START_DATA constinit std::uint32_t reclaim_percent = 25;  // these three are written before there are threads
NEBULA_START_DATA constinit config::Pressure pressure_source = config::Pressure::kOff;
NEBULA_START_DATA constinit LimitReader limit_reader = nullptr;

NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> pressure_looks{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> pressure_moderate{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> pressure_severe{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> pressure_bytes{0};
NEBULA_LATER_DATA constinit std::uint64_t stalled_before = machine::kUnlimited;  // by whoever has the tick
NEBULA_LATER_DATA constinit std::uint64_t stalled_before_at = 0;

Step after(Step step) { return static_cast<Step>(static_cast<int>(step) + 1); }

// Whether what this heap gives back is credited to the account; null: to all of them.
bool belongs_to(HeapId heap, const Account* account) {
  if (account == nullptr) return true;
  switch (account->kind()) {
    case config::AccountKind::kNode: return heap_accounts::of(heap).node == account;
    case config::AccountKind::kThread: return heap_accounts::of(heap).thread == account;
    case config::AccountKind::kModule: return heap_accounts::of(heap).module == account;
    default: return true;
  }
}

template <class Visitor>
void for_each_node_heap(const Account* account, Visitor visit) {
  for (unsigned i = 0; i < NodeHeap::count(); ++i)
    if (const auto heap = static_cast<HeapId>(i); belongs_to(heap, account)) visit(NodeHeap::at(heap));
}

std::size_t run(Step step, std::size_t enough, const Account* account) {
  if (step == Step::kOwnPools) {
    if (thread_heap::is_none(current.heap)) return 0;
    thread_heap::flush_all(*current.heap);
    const HoldGate hold;
    return bump::trim(current.heap->bump);
  }
  if (step == Step::kOtherThreads) {
    thread_heap::ask_others_to_flush();
    bump::ask_others_to_trim();
    return 0;
  }
  const HoldGate hold;
  switch (step) {
    case Step::kDepots:
      for_each_node_heap(account, [](NodeHeap& heap) { heap.drain_depots(NodeHeap::Depots::kAll); });
      return 0;
    case Step::kEmptySlabs:
      for_each_node_heap(account, [](NodeHeap& heap) { heap.release_empty_slabs(); });
      return 0;
    case Step::kDirtyPages: {
      std::size_t purged = 0;
      for_each_node_heap(account, [&](NodeHeap& heap) {
        if (purged < enough) purged += heap.spans().purge(SpanHeap::Purge::kEverything, enough - purged);
      });
      return purged;
    }
    case Step::kSlabPages: return NodeHeap::purge_slab_pages(enough, belongs_to, account);
    case Step::kAllDirtyPages: {
      std::size_t purged = bump::purge_left_blocks(bump::Which::kAll);
      for_each_node_heap(account, [&](NodeHeap& heap) {
        purged += heap.spans().purge(SpanHeap::Purge::kEverything, kAll);
      });
      purged += large::purge_tails(
          [](const void* whose, UnitIndex head) -> SpanHeap* {
            NodeHeap& heap = NodeHeap::of(head);
            return belongs_to(heap.id(), static_cast<const Account*>(whose)) ? &heap.spans() : nullptr;
          },
          account);
      return purged;
    }
    default: return 0;
  }
}

// `enough`: bytes after which giving back dirty pages may stop. For an account of some heaps, these alone are looked at.
std::size_t reclaim(Step step, std::size_t enough, PurgeReason reason, const Account* account = nullptr) {
  Counts& count = counts[static_cast<std::size_t>(step)];
  const std::uint64_t started = os::nanoseconds();
  const std::size_t bytes = run(step, enough, account);
  count.runs.fetch_add(1, kRelaxed);
  count.bytes.fetch_add(bytes, kRelaxed);
  count.nanoseconds.fetch_add(os::nanoseconds() - started, kRelaxed);
  purge_news::note(reason, bytes);
  return bytes;
}

// True for one caller in so many milliseconds.
bool is_due(std::atomic<std::uint64_t>& last_at, std::uint64_t milliseconds) {
  const std::uint64_t now = os::coarse_milliseconds();
  std::uint64_t last = last_at.load(kRelaxed);
  return now - last >= milliseconds && last_at.compare_exchange_strong(last, now, kRelaxed);
}

// Whether no reclaim can help: what large objects hold alone leaves no room, or the system refused more addresses than
// the heap has altogether.
bool is_hopeless(const Request& request) {
  if (refused_by == nullptr) return request.new_bytes > heap_map.mapped_units.load(kRelaxed) * kUnitSize;
  const std::uint64_t limit = refused_by->hard_limit();
  if (refused_by != &process_account) return request.new_bytes > limit;
  const std::uint64_t held = large::counts().live_bytes;
  return held > limit || request.new_bytes > limit - held;
}

bool is_larger_than_anything(const Request& request) {
  return request.new_bytes > pages::region_capacity() * kRegionSize ||
         (request.new_bytes > process_account.hard_limit() && process_account.at_limit().action != config::BudgetAction::kWarn);
}

// Which steps can make room in the account that refused: an account of sizes gets nothing from pages.
bool can_help(Step step, const Account* refusing) {
  return refusing == nullptr || refusing->kind() != config::AccountKind::kSize || step <= Step::kOtherThreads;
}

// Gives back down to 95 % of the limit that was met and no further: the rest of the dirty pages are needed again soon.
std::size_t enough_for(const Request& request, const Account* refusing) {
  if (refusing == nullptr || refusing->hard_limit() == kNoLimit) return kAll;
  const std::uint64_t limit = refusing->hard_limit();
  return request.new_bytes + (limit - comfortably_below(limit));
}

void* reclaim_and_try(Step first, Request& request, Attempt attempt, void* context) {
  Account* const refusing = refused_by;
  const PurgeReason reason = refusing != nullptr ? PurgeReason::kHardLimit : PurgeReason::kSystem;
  for (Step step = first; step != Step::kEnd; step = after(step)) {
    if (!can_help(step, refusing)) continue;
    const std::size_t bytes = reclaim(step, enough_for(request, refusing), reason, refusing);
    (refusing != nullptr ? *refusing : process_account).count_reclaimed(bytes);
    refused_by = nullptr;
    if (void* const object = attempt(context)) return object;
  }
  return nullptr;
}

// What other threads free gets to where this one can have it at their next free of the class, and by these steps.
void* wait_and_try(Request& request, Attempt attempt, void* context) {
  Account& account = *refused_by;
  const std::uint64_t deadline = os::nanoseconds() + std::uint64_t{account.at_limit().wait_milliseconds} * 1'000'000;
  account.count_wait();
  while (os::nanoseconds() < deadline) {
    os::sleep_for(1);
    if (is_hopeless(request)) continue;  // large objects alone hold too much, still
    if (void* const object = reclaim_and_try(Step::kDepots, request, attempt, context)) return object;
    if (refused_by == nullptr) break;
  }
  return nullptr;
}

void read_limits_again() {
  if (limit_reader != nullptr && is_due(limits_read_at, kLimitsMilliseconds)) limit_reader();
}

enum class Shortness : std::uint8_t { kNone, kModerate, kSevere };

// Of the time since the last look: a hundredth in which tasks waited for memory is moderate, a tenth severe. Of a control
// group's memory, nine tenths used are moderate, nineteen twentieths severe.
Shortness look_at_pressure() {
  pressure_looks.fetch_add(1, kRelaxed);
  if (pressure_source == config::Pressure::kControlGroup) {
    const machine::GroupUse use = machine::group_use();
    if (use.limit == machine::kUnlimited || use.used <= use.limit - use.limit / 10) return Shortness::kNone;
    return use.used > comfortably_below(use.limit) ? Shortness::kSevere : Shortness::kModerate;
  }
  const std::uint64_t stalled = machine::stalled_microseconds(machine::PressureOf::kMachine);
  const std::uint64_t now = os::nanoseconds() / 1000;
  const std::uint64_t more = stalled - stalled_before;
  const std::uint64_t time = now - stalled_before_at;
  const bool is_first = stalled_before == machine::kUnlimited || stalled == machine::kUnlimited;
  stalled_before = stalled;
  stalled_before_at = now;
  if (is_first || more < time / 100) return Shortness::kNone;
  return more < time / 10 ? Shortness::kModerate : Shortness::kSevere;
}

void answer_pressure() {
  const Shortness shortness = look_at_pressure();
  if (shortness == Shortness::kNone) return;
  (shortness == Shortness::kSevere ? pressure_severe : pressure_moderate).fetch_add(1, kRelaxed);
  std::size_t bytes = 0;
  if (shortness == Shortness::kSevere) {
    bytes = reclaim_everything(PurgeReason::kPressure);
  } else {
    thread_heap::flush_gone();
    reclaim(Step::kDepots, kAll, PurgeReason::kPressure);
    reclaim(Step::kEmptySlabs, kAll, PurgeReason::kPressure);
    bytes = reclaim(Step::kDirtyPages, kAll, PurgeReason::kPressure);
  }
  pressure_bytes.fetch_add(bytes, kRelaxed);
}

// At the end of each slow path, where that is asked for.
void give_back_now() {
  std::size_t purged = 0;
  const HoldGate hold;
  for_each_node_heap(nullptr, [&](NodeHeap& heap) {
    heap.release_spare_slabs();
    purged += heap.spans().purge(SpanHeap::Purge::kIdle);
  });
  purge_news::note(PurgeReason::kIdle, purged);
}

}  // namespace

void* with_reclaim(Request& request, Attempt attempt, void* context) {
  refused_by = request.new_bytes > process_account.hard_limit() ? &process_account : nullptr;
  const bool is_possible = !is_larger_than_anything(request);
  if (is_possible)
    if (void* const object = attempt(context)) return object;
  if (refused_by != nullptr) {
    refused_by->count_hit();
    refused_by->note_hard_limit();
    read_limits_again();
  }
  if (is_possible && !is_hopeless(request))
    if (void* const object = reclaim_and_try(Step::kOwnPools, request, attempt, context)) return object;
  if (is_possible && refused_by != nullptr && refused_by->at_limit().action == config::BudgetAction::kWait)
    if (void* const object = wait_and_try(request, attempt, context)) return object;
  request.by = refused_by;
  request.refusal = refused_by != nullptr ? Request::Refusal::kByBudget : Request::Refusal::kBySystem;
  return nullptr;
}

std::size_t reclaim_everything(PurgeReason reason) {
  std::size_t bytes = 0;
  for (Step step = Step::kOwnPools; step != Step::kEnd; step = after(step)) bytes += reclaim(step, kAll, reason);
  return bytes;
}

void attend_soft_limit() {
  if (!process_account.is_over_soft_limit()) return;
  read_limits_again();
  const std::uint64_t started = os::nanoseconds();
  std::uint64_t busy_until = soft_busy_until.load(kRelaxed);
  if (started < busy_until || !soft_busy_until.compare_exchange_strong(busy_until, ~std::uint64_t{0}, kRelaxed)) {
    soft_let_go.fetch_add(1, kRelaxed);
    return;
  }
  soft_crossings.fetch_add(1, kRelaxed);
  const std::uint64_t target = comfortably_below(process_account.soft_limit());
  for (Step step = Step::kOwnPools; step != Step::kEnd; step = after(step)) {
    const std::uint64_t committed = process_account.committed();
    if (committed <= target) break;
    process_account.count_reclaimed(reclaim(step, committed - target, PurgeReason::kSoftLimit));
  }
  const std::uint64_t ended = os::nanoseconds();
  soft_busy_until.store(ended + (ended - started) * (100 - reclaim_percent) / reclaim_percent, kRelaxed);
}

void attend_idle_memory() {
  if (!is_due(ticked_at, kTickMilliseconds)) {
    if (page_policy.purge == config::PagePolicy::Purge::kNow) give_back_now();
    return;
  }
  if (pressure_source != config::Pressure::kOff) answer_pressure();
  using Purge = config::PagePolicy::Purge;
  if (page_policy.purge != Purge::kNever) thread_heap::flush_kept_pools(page_policy.delay_milliseconds);
  {
    const HoldGate hold;
    std::size_t purged = 0;
    // What classes keep empty has an age by being looked at twice in the delay.
    const bool looks_at_spares = page_policy.purge != Purge::kNever && page_policy.purge != Purge::kNow &&
                                 is_due(spares_looked_at, page_policy.delay_milliseconds / 2);
    for_each_node_heap(nullptr, [&](NodeHeap& heap) {
      heap.drain_depots(NodeHeap::Depots::kIdle);
      if (page_policy.purge == Purge::kNow) heap.release_spare_slabs();
      else if (looks_at_spares) heap.release_idle_spare_slabs();
      purged += heap.spans().purge(SpanHeap::Purge::kIdle);
    });
    purged += bump::purge_left_blocks(bump::Which::kIdle);
    purge_news::note(PurgeReason::kIdle, purged);
  }
  holes::tick();
  for (const std::atomic<Watcher>& each : tick_watchers)
    if (const Watcher watcher = each.load(kRelaxed)) watcher();
}

bool watch_ticks(Watcher watcher) {
  for (std::atomic<Watcher>& place : tick_watchers) {
    Watcher none = nullptr;
    if (place.compare_exchange_strong(none, watcher, kRelaxed)) return true;
  }
  return false;
}

void set_reclaim_share(std::uint32_t percent) { reclaim_percent = percent; }

void set_pressure_source(config::Pressure source) { pressure_source = source; }

void set_limit_reader(LimitReader reader) { limit_reader = reader; }

StepFacts step_facts(Step step) {
  const Counts& count = counts[static_cast<std::size_t>(step)];
  return {count.runs.load(kRelaxed), count.bytes.load(kRelaxed), count.nanoseconds.load(kRelaxed)};
}

ReclaimFacts reclaim_facts() {
  return {soft_crossings.load(kRelaxed), soft_let_go.load(kRelaxed), pressure_looks.load(kRelaxed),
          pressure_moderate.load(kRelaxed), pressure_severe.load(kRelaxed), pressure_bytes.load(kRelaxed)};
}

void reset_reclaim_in_child() {
  soft_busy_until.store(0, kRelaxed);
  holes::reset_in_child();
}

}  // namespace nebula::heap
