#include "report/report.hpp"

#include <atomic>

#include "budget/account.hpp"
#include "budget/usage.hpp"
#include "config/config.hpp"
#include "diag/message.hpp"
#include "diag/misuse.hpp"
#include "heap/heap.hpp"
#include "heap/signal_arena.hpp"
#include "os/memory.hpp"
#include "os/process.hpp"
#include "slab/slab.hpp"
#include "spans/large.hpp"
#include "thread_heap/thread_heap.hpp"

#ifndef NEBULA_VERSION
#define NEBULA_VERSION "unknown"
#endif

namespace nebula::report {
namespace {

constexpr unsigned kLockPatienceMilliseconds = 20;
constexpr unsigned kWriterPatienceMilliseconds = 1000;  // for a report that another thread is writing
constexpr std::size_t kTextBytes = 24 * kKiB;
constexpr unsigned kClassRows = 20;

constinit Destination destination;
constinit std::uint64_t started_at = 0;      // coarse milliseconds
// Whose the last report is: nobody's yet, being written, written. A futex: whoever comes later waits for the end.
enum Stage : std::uint32_t { kNotBegun, kClaimed, kDone };
constinit std::atomic<std::uint32_t> last_report{kNotBegun};
constinit std::uint64_t reports_composed = 0;  // of this process; by whoever has writing
constinit bool is_forked_child = false;
constinit int process_id = 0;  // of this process, once begun
constinit char text_room[kTextBytes];  // by whoever has writing
constinit std::atomic<bool> writing{false};

struct ClassRow {
  std::uint64_t allocations = 0;
  std::uint64_t frees = 0;
  std::uint64_t live = 0;
  std::uint64_t pooled = 0;
  std::uint64_t in_depot = 0;
  NodeHeap::ClassFacts facts;
};

struct Snapshot {
  ClassRow rows[kClassEnd];
  ClassRow sum;
  std::uint64_t live_bytes = 0;  // of all small objects
  std::uint64_t pooled_bytes = 0;
  std::uint64_t depot_bytes = 0;
  std::uint64_t slab_free_bytes = 0;
  std::uint64_t dirty_bytes = 0;  // committed, and no object's
  std::uint64_t large_bytes = 0;
  std::uint64_t large_objects = 0;
  std::uint64_t arena_bytes = 0;
  std::uint64_t metadata_bytes = 0;
  std::uint64_t mapped_bytes = 0;
  SpanHeap::Facts spans;
  thread_heap::Facts threads;
  large::Counts large;
  heap::Facts heap;
  std::uint64_t committed_bytes = 0;  // as the account has it, which no other line is taken from
  std::uint64_t committed_peak = 0;   // of these, each read once, so that all lines say the same
  std::uint64_t in_use_peak = 0;
  std::uint64_t deposits = 0;
  std::uint64_t withdrawals = 0;
  pages::PurgeCounts purges = {};
  std::uint64_t refusals = 0;
  std::uint64_t largest_refused = 0;
  bool at_rest = false;               // all locks were held

  [[nodiscard]] std::uint64_t all_live_bytes() const { return live_bytes + large_bytes + heap.signal_bytes; }
  [[nodiscard]] std::uint64_t sum_of_lines() const {
    return all_live_bytes() + pooled_bytes + depot_bytes + slab_free_bytes + dirty_bytes + metadata_bytes;
  }
  [[nodiscard]] std::uint64_t difference() const {
    return sum_of_lines() > committed_bytes ? sum_of_lines() - committed_bytes : committed_bytes - sum_of_lines();
  }
};
constinit Snapshot snapshot = {};  // by whoever has writing: too large for a small stack

std::uint64_t at_least_zero(std::uint64_t value, std::uint64_t minus) { return value > minus ? value - minus : 0; }

std::uint64_t between(std::uint64_t least, std::uint64_t value, std::uint64_t most) {
  return value < least ? least : value > most ? most : value;
}

// Every unit of the heap, by what it is used for. Without the locks, a unit's use and its record may be of different
// owners, so what the record says is held within the heap, and each step goes on by a unit at least.
void walk_units(Snapshot& s) {
  const std::size_t end = first_unit_of(s.spans.regions);
  for (RegionIndex region = 0; region < s.spans.regions; ++region) {
    if (pages::committed_in({PageIndex{region} * kPagesPerRegion, {kPagesPerRegion}}).count == 0) continue;
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
      } else if (use == static_cast<unsigned>(UnitUse::kLargeHead)) {
        used = between(0, large::size_of(unit), (end - unit) * kUnitSize);
        units = between(1, units_for(pages_for(used)).count, end - unit);
        s.large_bytes += used;
        ++s.large_objects;
      }
      const std::uint64_t committed = pages::committed_in({first_page_of(unit), {units * kPagesPerUnit}}).bytes();
      s.dirty_bytes += at_least_zero(committed, used);
      unit += static_cast<UnitIndex>(units);
      // A large object may end in a later region; the walk goes on behind it.
      if (unit >= first_unit_of(region + 1)) region = region_of(unit - 1);
    }
  }
}

enum class Locks { kTake, kLeave };

void look_once(Snapshot& s, Locks locks) {
  s = {};
  bool pools_locked = false;
  bool node_locked = false;
  if (locks == Locks::kTake) {
    pools_locked = thread_heap::try_lock_all_for(kLockPatienceMilliseconds);
    node_locked = pools_locked && node_heap.try_lock_all_for(kLockPatienceMilliseconds);
  }
  s.at_rest = node_locked;
  s.committed_bytes = process_account.committed();
  s.in_use_peak = bytes_in_use.peak();  // before the peak that is above it
  s.committed_peak = process_account.peak();
  s.refusals = process_account.refusals();
  s.largest_refused = s.refusals == 0 ? 0 : process_account.largest_refused();
  s.spans = node_heap.spans().facts();
  s.threads = thread_heap::facts();
  s.large = large::counts();
  s.heap = heap::facts();
  s.purges = pages::purge_counts();
  s.metadata_bytes = pages::metadata_bytes();
  s.mapped_bytes = pages::mapped_bytes();
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    ClassRow& row = s.rows[i];
    row.facts = node_heap.facts(c);
    const thread_heap::PoolFacts pools = thread_heap::pool_facts(c);
    row.pooled = pools.pooled;
    row.in_depot = row.facts.in_depots;
    s.deposits += row.facts.deposits;
    s.withdrawals += row.facts.withdrawals;
    row.live = at_least_zero(row.facts.slots_outside, row.pooled + row.in_depot);
    row.allocations = pools.allocations + row.facts.direct_allocations;
    // Frees that were misuse are told apart. In running threads pools move between the two reads; never below zero.
    row.frees = at_least_zero(pools.frees + row.facts.direct_frees, row.facts.dropped);
    s.sum.allocations += row.allocations;
    s.sum.frees += row.frees;
    s.sum.live += row.live;
    s.sum.facts.slabs += row.facts.slabs;
    s.sum.facts.contended += row.facts.contended;
    s.sum.facts.refills += row.facts.refills;
    s.sum.facts.flushes += row.facts.flushes;
    s.live_bytes += row.live * slot_size(c);
    s.pooled_bytes += row.pooled * slot_size(c);
    s.depot_bytes += row.in_depot * slot_size(c);
  }
  s.dirty_bytes = at_least_zero(s.heap.signal_committed_bytes, s.heap.signal_bytes);
  walk_units(s);
  if (node_locked) node_heap.unlock_all();
  if (pools_locked) thread_heap::unlock_all();
}

// A thread that is about to get its heap charges it under none of the locks: so a sum that is wrong is looked at again.
void take_snapshot(Snapshot& s) {
  constexpr int kLooks = 3;
  const SlowPath slow;  // whatever allocates from here on must not wait for the locks below
  const Locks locks = slow.entered() && heap_map.base != 0 ? Locks::kTake : Locks::kLeave;
  for (int look = 0; look < kLooks; ++look) {
    if (look != 0) os::yield_processor();
    look_once(s, locks);
    if (!s.at_rest || s.difference() == 0) return;
  }
}

constexpr unsigned kName = 26;
constexpr unsigned kNumber = 20;

void write_line(Text& text, const char* name, std::uint64_t value) {
  text << "  ";
  text.left(name, kName);
  text.right(value, kNumber) << '\n';
}

void write_heading(Text& text) {
  text << "nebula " NEBULA_VERSION " report: " << os::program_name() << ", pid ";
  text.plain(static_cast<std::uint64_t>(process_id)) << '\n';
  text << "  options  ";
  bool any = false;
  for (std::size_t i = 0; i < config::options().size(); ++i) {
    const std::string_view value = config::written_value(i);
    if (value.empty()) continue;
    text << ' ' << config::options()[i].name << '=' << start_of(value, 200);
    any = true;
  }
  text << (any ? "\n" : " all default\n");
  const os::Usage usage = os::usage();
  text << "  time      ";
  text.seconds(os::coarse_milliseconds() - started_at) << " elapsed, ";
  text.seconds(usage.user_microseconds / 1000) << " user, ";
  text.seconds(usage.system_microseconds / 1000) << " system\n";
  text << "  process   " << usage.minor_faults << " minor faults, " << usage.major_faults << " major faults, peak RSS "
       << usage.peak_resident_bytes << " bytes\n";
}

void write_ladder(Text& text, const Snapshot& s) {
  text << "\nmemory, bytes\n";
  write_line(text, "live", s.all_live_bytes());
  write_line(text, "in pools", s.pooled_bytes);
  write_line(text, "in depots", s.depot_bytes);
  write_line(text, "free in slabs", s.slab_free_bytes);
  write_line(text, "dirty spans", s.dirty_bytes);
  write_line(text, "metadata", s.metadata_bytes);
  write_line(text, "= committed", s.committed_bytes);
  write_line(text, "purged and untouched", at_least_zero(s.mapped_bytes, s.committed_bytes));
  write_line(text, "= mapped", s.mapped_bytes);
  text << "  peak committed ";
  text << s.committed_peak << " at ";
  text.seconds(at_least_zero(process_account.peak_at_milliseconds(), started_at));
  text << ", peak in use (live, in pools, in depots) " << s.in_use_peak << '\n';
  if (!s.at_rest)
    text << "  (threads were running and would not pause: the numbers are of slightly different moments, "
         << s.difference() << " bytes apart)\n";
  else if (s.difference() != 0)
    text << "  (inconsistent by " << s.difference() << " bytes: please report this)\n";
}

void write_row(Text& text, std::string_view name, const ClassRow& row, std::uint64_t bytes, std::uint64_t committed) {
  text << "  ";
  text.left(name, 12);
  text.right(row.allocations, 15).right(row.frees, 15).right(row.live, 13).right(bytes, 17).right(row.facts.slabs, 8);
  if (committed != 0) {
    text.right(bytes * 100 / committed, 6);
    text << " %";
  }
  text << '\n';
}

// How much of what a class's slabs hold is live: their share of the pages under their marks is not known by class
// without another walk, so utilisation is against the slots outside and free in the class's slabs at their full size.
std::uint64_t slab_bytes(unsigned c, const ClassRow& row) {
  return row.facts.slabs * kSizeClasses.units_per_slab[c] * kUnitSize;
}

void write_objects(Text& text, const Snapshot& s) {
  text << "\nobjects         allocations          frees         live       live bytes   slabs   used\n";
  std::uint64_t order[kClassEnd];
  unsigned used = 0;
  for (unsigned i = kClassFirst; i < kClassEnd; ++i)
    if (s.rows[i].allocations != 0 || s.rows[i].facts.slabs != 0) order[used++] = i;
  // The classes with most live bytes, then most allocations, get a row of their own; shown by rising size.
  const auto weighs_more = [&s](std::uint64_t a, std::uint64_t b) {
    const std::uint64_t bytes_a = s.rows[a].live * kSizeClasses.slot_size[a];
    const std::uint64_t bytes_b = s.rows[b].live * kSizeClasses.slot_size[b];
    return bytes_a != bytes_b ? bytes_a > bytes_b : s.rows[a].allocations > s.rows[b].allocations;
  };
  bool shown[kClassEnd] = {};
  for (unsigned n = 0; n < used && n < kClassRows; ++n) {
    std::uint64_t best = 0;
    for (unsigned i = 0; i < used; ++i)
      if (!shown[order[i]] && (best == 0 || weighs_more(order[i], best))) best = order[i];
    shown[best] = true;
  }
  ClassRow others;
  std::uint64_t others_bytes = 0;
  std::uint64_t others_slab_bytes = 0;
  std::uint64_t all_slab_bytes = 0;
  unsigned others_count = 0;
  for (unsigned n = 0; n < used; ++n) {
    const auto c = static_cast<unsigned>(order[n]);
    const ClassRow& row = s.rows[c];
    const std::uint64_t bytes = row.live * kSizeClasses.slot_size[c];
    all_slab_bytes += slab_bytes(c, row);
    if (shown[c]) {
      TextOf<32> name;
      name << "size " << std::uint64_t{kSizeClasses.slot_size[c]};
      write_row(text, name.view(), row, bytes, slab_bytes(c, row));
      continue;
    }
    ++others_count;
    others.allocations += row.allocations;
    others.frees += row.frees;
    others.live += row.live;
    others.facts.slabs += row.facts.slabs;
    others_bytes += bytes;
    others_slab_bytes += slab_bytes(c, row);
  }
  if (others_count != 0) {
    TextOf<32> name;
    name << std::uint64_t{others_count} << " others";
    write_row(text, name.view(), others, others_bytes, others_slab_bytes);
  }
  write_row(text, "all small", s.sum, s.live_bytes, all_slab_bytes);

  ClassRow large;
  large.allocations = s.large.allocations;
  large.frees = s.large.frees;
  large.live = s.large_objects;
  write_row(text, "large", large, s.large_bytes, 0);
  ClassRow total;
  total.allocations = s.sum.allocations + s.large.allocations + s.heap.signal_allocations;
  total.frees = s.sum.frees + s.large.frees + s.heap.signal_frees;
  const std::uint64_t handler_live = at_least_zero(s.heap.signal_allocations, s.heap.signal_frees);
  total.live = s.sum.live + s.large_objects + handler_live;
  if (s.heap.signal_allocations != 0) {
    ClassRow arena;
    arena.allocations = s.heap.signal_allocations;
    arena.frees = s.heap.signal_frees;
    arena.live = handler_live;
    write_row(text, "in handlers", arena, s.heap.signal_bytes, 0);
  }
  total.facts.slabs = s.sum.facts.slabs;
  write_row(text, "total", total, s.all_live_bytes(), 0);
}

void write_rest(Text& text, const Snapshot& s) {
  text << "\nthreads   " << s.threads.threads_started << " started, " << s.threads.threads_now << " now, "
       << s.threads.heaps << " heaps; " << s.threads.refills << " refills, " << s.threads.flushes << " flushes; depots "
       << s.deposits << " batches in, " << s.withdrawals << " out; " << s.sum.facts.contended << " waits for a lock\n";

  text << "budget    ";
  if (process_account.hard_limit() == kNoLimit) text << "no limit";
  else
    text << "limit " << process_account.hard_limit() << ", the last " << process_account.reserve()
         << " for small requests, " << process_account.reserve_used_at(s.committed_peak) << " of them used";
  if (process_account.soft_limit() != kNoLimit) text << ", soft limit " << process_account.soft_limit();
  text << "; peak " << s.committed_peak << "; hit " << process_account.hits() << " times, reclaimed "
       << process_account.reclaimed() << " bytes; refused " << s.refusals << " requests, largest "
       << s.largest_refused << " bytes";
  if (process_account.soft_limit() != kNoLimit)
    text << "; above the soft limit " << s.heap.soft_crossings << " times, let go " << s.heap.soft_let_go << " times";
  text << '\n';

  const pages::PurgeCounts& purges = s.purges;
  text << "pages     " << purges.purges << " purges of " << purges.purged_bytes << " bytes, " << purges.refusals
       << " refused; " << purges.moves << " moves of " << purges.moved_bytes << " bytes; " << s.large.grown_in_place
       << " objects grown in place; huge pages asked for in " << s.spans.huge_regions << " regions (system: "
       << os::huge_page_mode() << ")\n";

  const misuse::Counts& wrong = misuse::counts;
  text << "misuse    " << wrong.double_frees.load(std::memory_order_relaxed) << " double frees, "
       << wrong.invalid_frees.load(std::memory_order_relaxed) << " invalid frees, "
       << wrong.foreign_pointers.load(std::memory_order_relaxed) << " foreign pointers, "
       << wrong.foreign_to_libc.load(std::memory_order_relaxed) << " of them libc's\n";
  if (s.heap.signal_allocations + s.heap.deferred_frees + s.heap.lost_frees != 0)
    text << "handlers  " << s.heap.signal_allocations << " allocations inside an interrupted allocation, "
         << s.heap.deferred_frees << " frees put off, " << s.heap.lost_frees << " lost\n";
}

// False when another thread is at it and does not finish soon.
bool begin_writing(unsigned patience_milliseconds) {
  const std::uint64_t deadline = os::nanoseconds() + std::uint64_t{patience_milliseconds} * 1'000'000;
  // acquire / release: the last writer's text_room and snapshot are done with.
  while (writing.exchange(true, std::memory_order_acquire)) {
    if (os::nanoseconds() > deadline) return false;
    os::yield_processor();
  }
  return true;
}

void end_writing() { writing.store(false, std::memory_order_release); }

// True for the first thread that comes to write the last report. The others wait for it, because the process ends when
// they go on, but not for ever: it may be this very thread, interrupted.
bool claim_last_report() {
  std::uint32_t stage = kNotBegun;
  // relaxed: only decides who writes; the text is guarded by `writing`.
  if (last_report.compare_exchange_strong(stage, kClaimed, std::memory_order_relaxed)) return true;
  const std::uint64_t deadline = os::nanoseconds() + std::uint64_t{kWriterPatienceMilliseconds} * 1'000'000;
  // relaxed: nothing the writer wrote is read here.
  while (last_report.load(std::memory_order_relaxed) == kClaimed) {
    const std::uint64_t now = os::nanoseconds();
    if (now >= deadline) break;
    os::wait_while_for(last_report, kClaimed, static_cast<unsigned>((deadline - now) / 1'000'000 + 1));
  }
  return false;
}

void finish_last_report() {
  last_report.store(kDone, std::memory_order_relaxed);
  os::wake_all(last_report);
}

std::string_view compose() {
  ++reports_composed;
  Text text(text_room, sizeof text_room);
  take_snapshot(snapshot);
  write_heading(text);
  write_ladder(text, snapshot);
  write_objects(text, snapshot);
  write_rest(text, snapshot);
  return text.view();
}

void write_file(std::string_view words) {
  TextOf<1400> path;
  config::expand_path(destination.file, process_id, os::program_name(), reports_composed, path);
  const int file = path.is_full() ? -1 : os::create_file(path.view().data());
  if (file < 0) {
    TextOf<1400> line;
    line << "the report cannot be written to NEBULA_STATS_FILE=" << destination.file << ": ";
    if (file == os::kNoPlainFile) line << "neither a file nor a character device";
    else (line << "error ").plain(static_cast<std::uint64_t>(-file));
    say(line.view());
    return;
  }
  os::write_all(file, words);
  os::close_file(file);
}

// The file is the parent's, unless its name has the process id.
bool may_write() {
  if (!is_forked_child) return true;
  for (std::size_t i = 0; i + 1 < destination.file.size(); ++i)
    if (destination.file[i] == '%' && destination.file[i + 1] == 'p') return true;
  return false;
}

}  // namespace

void begin() {
  started_at = os::coarse_milliseconds();
  process_id = os::process_id();
}

void expect_report(const Destination& wanted) {
  destination = wanted;
  os::read_huge_page_mode();
}

void note_fork() {
  is_forked_child = true;
  process_id = os::process_id();
  reports_composed = 0;
  last_report.store(kNotBegun, std::memory_order_relaxed);
  writing.store(false, std::memory_order_relaxed);
}

void write_at_exit() {
  if (!destination.wanted || !may_write() || !claim_last_report()) return;
  heap::flush_this_thread();  // a double free that is still in a pool is found now, and not counted as a free
  if (begin_writing(kWriterPatienceMilliseconds)) {
    const std::string_view words = compose();
    if (!destination.file.empty()) write_file(words);
    else nebula::write_to_standard_error(words);
    end_writing();
  }
  finish_last_report();
}

void write_before_abort(std::string_view why) {
  if (!claim_last_report()) return;
  say(why);
  if (begin_writing(kWriterPatienceMilliseconds)) {
    const std::string_view words = compose();
    nebula::write_to_standard_error(words);
    if (!destination.file.empty() && may_write()) write_file(words);
    end_writing();
  }
  finish_last_report();
}

void write_to_standard_error() {
  if (!begin_writing(kLockPatienceMilliseconds)) return;
  const std::string_view words = compose();
  nebula::write_to_standard_error(words);
  end_writing();
}

Totals totals() {
  if (!begin_writing(kLockPatienceMilliseconds)) return {};
  const Snapshot& s = snapshot;
  take_snapshot(snapshot);
  // Whoever subtracts one of these from the other must not get below zero.
  const std::uint64_t committed = s.at_rest ? s.committed_bytes : s.sum_of_lines();
  const Totals result = {s.all_live_bytes(), s.pooled_bytes, s.depot_bytes, s.slab_free_bytes, s.dirty_bytes,
                         s.metadata_bytes, committed, at_least_zero(s.mapped_bytes, committed),
                         s.mapped_bytes, s.sum.live + s.large_objects, s.large_bytes, s.large_objects};
  end_writing();
  return result;
}

}  // namespace nebula::report
