#include "stats/snapshot.hpp"

#include <cstring>
#include <iterator>
#include <type_traits>

#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "budget/usage.hpp"
#include "bump/block.hpp"
#include "heap/at_rest.hpp"
#include "heap/routes.hpp"
#include "os/memory.hpp"
#include "slab/slab.hpp"
#include "spans/frontier.hpp"
#include "spans/sampled.hpp"
#include "stats/accounts.hpp"

namespace nebula::stats {
namespace {

NEBULA_START_DATA constinit std::uint64_t started_at = 0;  // coarse milliseconds
NEBULA_LATER_DATA constinit int this_process = 0;          // once asked for

std::uint64_t between(std::uint64_t least, std::uint64_t value, std::uint64_t most) {
  return value < least ? least : value > most ? most : value;
}

// Without the locks a record may be of two owners.
void note_age(Profile& profile, const profiling::Sample& sample, std::uint64_t now) {
  if (sample.site == 0 || sample.bytes == 0 || profile.period_bytes == 0) return;
  profile.live_by_age[profiling::sites::lifetime_of(at_least_zero(now, sample.born))].add(
      profiling::weight_of(sample.bytes, profile.period_bytes));
}

// Every unit of the heap, by what it is used for. Without the locks, a unit's use and its record may be of different
// owners, so what the record says is held within the heap, and each step goes on by a unit at least.
void walk_units(Snapshot& s, RegionIndex regions) {
  const std::size_t end = first_unit_of(regions);
  const std::uint64_t now = s.profile.period_bytes != 0 ? os::nanoseconds() : 0;
  for (RegionIndex region = 0; region < regions; ++region) {
    if (pages::committed_in(pages::pages_of(region)).count == 0) continue;
    for (UnitIndex unit = first_unit_of(region); unit < first_unit_of(region + 1);) {
      const unsigned use = unit_use(unit).load(std::memory_order_relaxed);
      std::size_t units = 1;
      std::uint64_t used = 0;  // bytes that belong to an object or a slab's slots
      if (is_size_class(use)) {
        units = between(1, units_per_slab(size_class(use)), end - unit);
        const Slab& slab = slab::at(unit);
        const std::size_t size = slot_size(size_class(use));
        const Pages to_mark = pages_for(between(0, slab.bump * size, units * kUnitSize));
        used = pages::committed_in({first_page_of(unit), to_mark}).bytes();
        s.slab_free_bytes += at_least_zero(used, slab.outside() * size);
      } else if (use == static_cast<unsigned>(UnitUse::kSampled)) {
        const std::size_t size = slot_size(sampled::class_at(unit));
        used = pages::committed_in({first_page_of(unit), pages_for(size)}).bytes();
        s.slab_free_bytes += at_least_zero(used, size);
        note_age(s.profile, sampled::sample_at(unit), now);
      } else if (use == static_cast<unsigned>(UnitUse::kBump)) {
        const bump::Block block(unit);
        units = between(1, block.units().count, end - unit);
        const bump::Contents contents = bump::contents_of(block);
        used = pages::committed_in({first_page_of(unit), {units * kPagesPerUnit}}).bytes();
        s.bump.live += contents.live;
        s.bump.live_bytes += contents.live_bytes;
        s.bump.dead_bytes += at_least_zero(used, contents.live_bytes);
        ++s.bump.blocks;
        s.bump.block_bytes += units * kUnitSize;
      } else if (use == static_cast<unsigned>(UnitUse::kLargeHead)) {
        used = between(0, large::size_of(unit), (end - unit) * kUnitSize);
        units = between(1, units_for(pages_for(used)).count, end - unit);
        s.large.live_bytes += used;
        ++s.large.live;
        note_age(s.profile, large::sample_at(unit), now);
      }
      const std::uint64_t committed = pages::committed_in({first_page_of(unit), {units * kPagesPerUnit}}).bytes();
      s.dirty_bytes += at_least_zero(committed, used);
      unit += static_cast<UnitIndex>(units);
      // A large object may end in a later region; the walk goes on behind it.
      if (unit >= first_unit_of(region + 1)) region = region_of(unit - 1);
    }
  }
}

void look_at_bump(Snapshot& s) {
  const thread_heap::BumpFacts facts = thread_heap::bump_facts();
  const bump::BlockCounts blocks = bump::block_counts();
  s.has_routes = heap::routes::in_force.load(std::memory_order_relaxed);
  s.bump.allocations = facts.allocations;
  s.bump.allocated_bytes = facts.bytes;
  s.bump.rewinds = facts.rewinds;
  s.bump.reuses = facts.reuses;
  s.bump.blocks_taken = blocks.taken;
  s.bump.limit_bytes = bump::limit();
  s.bump.passed_on = blocks.passed_on;
}

void look_at_auto_routes(heap::auto_routes::Facts& facts) {
  heap::auto_routes::read(facts);
  for (heap::auto_routes::Move& move : std::span(facts.kept_moves).first(facts.kept)) move.at = at_least_zero(move.at, started_at);
}

std::uint64_t activity(const Pools& pools) { return pools.allocations + pools.frees; }

// The rows are those with most activity, in the order in which the heaps come: that of their indices.
void look_at_heap(Snapshot& s, const thread_heap::HeapFacts& heap) {
  HeapRow row = {{heap.allocations, heap.frees, heap.pooled_bytes, heap.refills, heap.flushes}, heap.index, heap.thread_id, heap.in_use};
  ++s.threads.heaps;
  s.threads.refills += heap.refills;
  s.threads.flushes += heap.flushes;
  if (s.heaps_shown == kHeapRows) {
    unsigned least = 0;
    for (unsigned i = 1; i < kHeapRows; ++i)
      if (activity(s.heaps[i]) < activity(s.heaps[least])) least = i;
    HeapRow out = row;
    if (activity(s.heaps[least]) < activity(row)) {
      out = s.heaps[least];
      for (unsigned i = least; i + 1 < kHeapRows; ++i) s.heaps[i] = s.heaps[i + 1];
      s.heaps[kHeapRows - 1] = row;
    }
    s.other_heaps.add(out);
    return;
  }
  s.heaps[s.heaps_shown++] = row;
}

// One pass for classes and heaps: running threads' pools move, and both must have seen the same.
void look_at_pools(Snapshot& s) {
  thread_heap::read({&s,
                     [](void* snapshot, SizeClass c, const thread_heap::PoolFacts& pool) {
                       if (pool.allocations == 0 && pool.frees == 0 && pool.pooled == 0) return;
                       ClassRow& row = static_cast<Snapshot*>(snapshot)->row_of(c);
                       row.allocations += pool.allocations;
                       row.frees += pool.frees;
                       row.pooled += pool.pooled;
                     },
                     [](void* snapshot, const thread_heap::HeapFacts& heap) {
                       look_at_heap(*static_cast<Snapshot*>(snapshot), heap);
                     }});
}

std::uint64_t waste_of(const ClassRow& row, std::size_t slot_bytes) {
  if (row.requests.count == 0) return 0;
  const double granted = static_cast<double>(row.requests.count) * static_cast<double>(slot_bytes);
  const double share = 1.0 - static_cast<double>(row.requests.bytes) / granted;
  return share <= 0 ? 0 : static_cast<std::uint64_t>(static_cast<double>(row.live_bytes) * share);
}

void look_at_classes(Snapshot& s) {
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    // Objects of the class that lie in no slab.
    const sampled::Counts sampled = s.profile.period_bytes != 0 ? sampled::counts(c) : sampled::Counts{};
    const heap::Requests requests = heap::sampled_requests(c);
    if (!NodeHeap::has_begun(c) && sampled.allocations == 0 && requests.count == 0) continue;  // nor has any pool had one
    ClassRow& row = s.row_of(c);
    const NodeHeap::ClassFacts facts = NodeHeap::facts_of_all(c);
    row.in_depot = facts.in_depots;
    row.refills = facts.refills;
    row.flushes = facts.flushes;
    row.lock_waits = facts.contended;
    const heap::ClassTotals totals = heap::totals_of(facts, {row.allocations, row.frees, row.pooled}, sampled);
    row.allocations = totals.allocations;
    row.frees = totals.frees;
    row.live = totals.live;
    row.sampled_bytes = totals.sampled_live * slot_size(c);
    row.live_bytes = row.live * slot_size(c);
    s.direct_allocations += facts.direct_allocations + sampled.allocations;
    s.direct_frees += facts.direct_frees + sampled.frees;
    s.misused_frees += facts.dropped;
    row.slabs = facts.slabs;
    row.empty_slabs = facts.empty_slabs;
    row.slab_bytes = facts.slabs * units_per_slab(c) * kUnitSize;
    row.requests = requests;
    row.internal_waste_bytes = waste_of(row, slot_size(c));
    s.sampled_requests += row.requests.count;
    s.internal_waste_bytes += row.internal_waste_bytes;
    s.all_small.add(row);
    s.deposits += facts.deposits;
    s.withdrawals += facts.withdrawals;
    s.lock_waits += row.lock_waits;
    s.pooled_bytes += row.pooled * slot_size(c);
    s.depot_bytes += row.in_depot * slot_size(c);
  }
}

void look_at_budget(Budget& budget, std::uint64_t committed_peak) {
  const Account& account = process_account;
  budget.hard_limit = account.hard_limit();
  budget.soft_limit = account.soft_limit();
  budget.reserve_bytes = account.reserve();
  budget.reserve_used_bytes = account.reserve_used_at(committed_peak);
  static_cast<Account::Counts&>(budget) = account.counts();
}

Misuse look_at_misuse() {
  const misuse::Counts& counts = misuse::counts;
  Misuse result;
  result.double_frees = counts.double_frees.load(std::memory_order_relaxed);
  result.invalid_frees = counts.invalid_frees.load(std::memory_order_relaxed);
  result.foreign_to_libc = counts.foreign_to_libc.load(std::memory_order_relaxed);  // before what it is part of
  result.foreign_pointers = counts.foreign_pointers.load(std::memory_order_relaxed);
  return result;
}

void look_at_profile(Profile& profile) {
  profile.period_bytes = profiling::period();
  if (profile.period_bytes == 0) return;
  for (unsigned i = 0; i < profiling::sites::kLifetimes; ++i) profile.freed_by_life[i] = profiling::sites::lifetimes(i);
  profile.totals = profiling::sites::totals();
  profile.counts = profiling::sites::counts();
}

// As it begins: all zero, or the library's file had to have room for it. It stays taken, so that a fork in the middle leaves the child one
// to clear. Not through another one: 32 KiB on a stack that may have 16.
void clear(Snapshot& s) {
  static_assert(std::is_trivially_copyable_v<Snapshot>);
  auto* const first = reinterpret_cast<std::byte*>(&s.process);
  std::memset(first, 0, static_cast<std::size_t>(reinterpret_cast<std::byte*>(&s + 1) - first));
}

void look_once(Snapshot& s, heap::AllLocks::Wish wish) {
  if (s.is_taken) clear(s);
  s.is_taken = true;
  const heap::AllLocks locks(kLockPatienceMilliseconds, wish);
  s.at_rest = locks.are_held();
  s.committed_bytes = process_account.committed();
  s.in_use_peak_bytes = bytes_in_use.peak();  // before the peak that is above it
  s.committed_peak_bytes = process_account.peak();
  s.committed_peak_at_milliseconds = at_least_zero(process_account.peak_at_milliseconds(), started_at);
  look_at_budget(s.budget, s.committed_peak_bytes);
  look_at_accounts({s.accounts, s.account_count, s.thread_accounts});
  for (unsigned i = 0; i < std::size(s.steps); ++i) s.steps[i] = heap::step_facts(static_cast<heap::Step>(i));
  s.reclaim = heap::reclaim_facts();
  s.holes = heap::holes::facts();
  for (unsigned heap = 0; heap < NodeHeap::count(); ++heap) {
    const SpanHeap::Facts facts = NodeHeap::at(static_cast<HeapId>(heap)).spans().facts();
    s.huge_regions += facts.huge_regions;
    s.huge_tlb.asked_regions += facts.huge_tlb.asked_regions;
    s.huge_tlb.regions += facts.huge_tlb.regions;
    s.huge_tlb.refusals += facts.huge_tlb.refusals;
  }
  s.threads = thread_heap::facts();
  s.threads.heaps = s.threads.refills = s.threads.flushes = 0;  // counted with the pools
  const large::Counts large = large::counts();
  s.large.allocations = large.allocations;
  s.large.frees = large.frees;
  s.grown_in_place = large.grown_in_place;
  s.heap = heap::facts();
  s.purges = pages::purge_counts();
  s.page_policy = page_policy;
  s.reserve = reserve::facts();
  s.locked = locking::facts();
  s.metadata_bytes = pages::metadata_bytes();
  s.mapped_bytes = pages::mapped_bytes();
  s.misuse = look_at_misuse();
  look_at_pools(s);
  look_at_profile(s.profile);
  look_at_classes(s);
  look_at_nodes(s.nodes);
  s.large_requests = heap::large_requests();
  s.large_granted_bytes = heap::large_granted_bytes();
  s.dirty_bytes = at_least_zero(s.heap.signal_committed_bytes, s.heap.signal_bytes);
  look_at_bump(s);
  look_at_auto_routes(s.auto_routes);
  walk_units(s, frontier.regions());
  // Nobody counts frees: what was allocated and is not alive is free.
  s.bump.frees = at_least_zero(s.bump.allocations, s.bump.live);
  s.in_handlers.allocations = s.heap.signal_allocations;
  s.in_handlers.frees = s.heap.signal_frees;
  s.in_handlers.live = at_least_zero(s.heap.signal_allocations, s.heap.signal_frees);
  s.in_handlers.live_bytes = s.heap.signal_bytes;
  s.total.add(s.all_small);
  s.total.add(s.large);
  s.total.add(s.bump);
  s.total.add(s.in_handlers);
}

}  // namespace

void Objects::add(const Objects& other) {
  allocations += other.allocations;
  frees += other.frees;
  live += other.live;
  live_bytes += other.live_bytes;
  slabs += other.slabs;
  slab_bytes += other.slab_bytes;
  empty_slabs += other.empty_slabs;
  sampled_bytes += other.sampled_bytes;
}

void Pools::add(const Pools& other) {
  allocations += other.allocations;
  frees += other.frees;
  pooled_bytes += other.pooled_bytes;
  refills += other.refills;
  flushes += other.flushes;
}

std::uint64_t elapsed_milliseconds() { return os::coarse_milliseconds() - started_at; }

std::string_view name_of(heap::Step step) {
  constexpr std::string_view kNames[] = {"own pools", "depots", "other threads", "empty slabs", "dirty pages", "slab pages", "all dirty pages"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(heap::Step::kEnd));
  return kNames[static_cast<std::size_t>(step)];
}

void begin() {
  started_at = os::coarse_milliseconds();
}

void note_process() { this_process = os::process_id(); }

void note_fork() {
  if (this_process != 0) note_process();
}

int process_id() {
  if (this_process == 0) note_process();
  return this_process;
}

// A thread that is about to get its heap charges it under none of the locks: so a sum that is wrong is looked at again.
void take(Snapshot& s, Caller caller) {
  constexpr int kLooks = 3;
  const SlowPath slow;  // whatever allocates from here on must not wait for the locks below
  const bool may_lock = slow.entered() || caller == Caller::kHoldsNoLock;
  using Wish = heap::AllLocks::Wish;
  const Wish wish = may_lock && heap_map.base != 0 ? Wish::kTake : Wish::kLeave;
  for (int look = 0; look < kLooks; ++look) {
    if (look != 0) os::yield_processor();
    look_once(s, wish);
    if (!s.at_rest || s.difference() == 0) break;
  }
  s.process.program = os::program_name();
  s.process.id = process_id();
  s.process.elapsed_milliseconds = elapsed_milliseconds();
  s.process.usage = os::usage();
  const os::Residence residence = os::residence();
  // The kernel notes the peak a little late.
  if (residence.resident_bytes > s.process.usage.peak_resident_bytes)
    s.process.usage.peak_resident_bytes = residence.resident_bytes;
  s.process.resident_bytes = residence.is_known ? residence.resident_bytes : kUnknown;
  s.process.swapped_bytes = residence.is_known ? residence.swapped_bytes : kUnknown;
  s.huge_page_mode = os::huge_page_mode();
}

}  // namespace nebula::stats
