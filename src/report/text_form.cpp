// The form for a person at a terminal.
#include "budget/account.hpp"
#include "config/config.hpp"
#include "report/forms.hpp"
#include "stats/advice.hpp"

#include <iterator>

#ifndef NEBULA_VERSION
#define NEBULA_VERSION "unknown"
#endif

namespace nebula::report {
namespace {

using stats::ClassRow;
using stats::Objects;
using stats::Snapshot;

constexpr unsigned kClassRows = 20;
constexpr unsigned kName = 26;
constexpr unsigned kNumber = 20;

void write_line(Text& text, const char* name, std::uint64_t value) {
  text << "  ";
  text.left(name, kName);
  text.right(value, kNumber) << '\n';
}

void write_heading(Text& text, const Occasion& occasion, const stats::Process& process) {
  text << "nebula " NEBULA_VERSION " report: ";
  for (const char letter : process.program) text << (letter == '\n' ? '?' : letter);  // a line stays one
  text << ", pid ";
  text.plain(static_cast<std::uint64_t>(process.id));
  if (occasion.reason != Reason::kExit && occasion.reason != Reason::kRequest) text << ", " << name_of(occasion.reason);
  text << '\n';
  text << "  options  ";
  config::append_written(text);
  text << '\n';
  text << "  time      ";
  text.seconds(process.elapsed_milliseconds) << " elapsed, ";
  text.seconds(process.usage.user_microseconds / 1000) << " user, ";
  text.seconds(process.usage.system_microseconds / 1000) << " system\n";
  text << "  process   " << process.usage.minor_faults << " minor faults, " << process.usage.major_faults
       << " major faults, peak RSS " << process.usage.peak_resident_bytes << " bytes\n";
}

void write_ladder(Text& text, const Snapshot& s) {
  text << "\nmemory, bytes\n";
  write_line(text, "live", s.total.live_bytes);
  write_line(text, "in pools", s.pooled_bytes);
  write_line(text, "in depots", s.depot_bytes);
  write_line(text, "free in slabs", s.slab_free_bytes);
  if (s.has_routes) write_line(text, "dead in blocks", s.bump.dead_bytes);
  write_line(text, "dirty spans", s.dirty_bytes);
  write_line(text, "metadata", s.metadata_bytes);
  write_line(text, "= committed", s.committed_bytes);
  write_line(text, "purged and untouched", s.untouched_bytes());
  write_line(text, "= mapped", s.mapped_bytes);
  text << "  peak committed " << s.committed_peak_bytes << " at ";
  text.seconds(s.committed_peak_at_milliseconds);
  text << ", peak in use (live, in pools, in depots) " << s.in_use_peak_bytes << '\n';
  if (!s.at_rest)
    text << "  (threads were running and would not pause: the numbers are of slightly different moments, "
         << s.difference() << " bytes apart)\n";
  else if (s.difference() != 0)
    text << "  (inconsistent by " << s.difference() << " bytes: please report this)\n";
}

void write_row(Text& text, std::string_view name, const Objects& row) {
  text << "  ";
  text.left(name, 12);
  text.right(row.allocations, 15).right(row.frees, 15).right(row.live, 13).right(row.live_bytes, 17);
  text.right(row.slabs, 8);
}

// With how much of what its slabs hold at their full size is live: which of their pages are committed is not known by
// class.
void write_row_of_slabs(Text& text, std::string_view name, const Objects& row) {
  write_row(text, name, row);
  if (row.slab_bytes != 0) {
    text.right((row.live_bytes - row.sampled_bytes) * 100 / row.slab_bytes, 6);
    text << " %";
  }
  text << '\n';
}

void write_objects(Text& text, const Snapshot& s) {
  text << "\nobjects         allocations          frees         live       live bytes   slabs   used\n";
  std::uint64_t order[kClassEnd];
  unsigned used = 0;
  s.for_each_class_used([&](SizeClass c, const stats::ClassRow&) { order[used++] = index_of(c); });
  // The classes with most live bytes, then most allocations, get a row of their own; shown by rising size.
  const auto weighs_more = [&s](std::uint64_t a, std::uint64_t b) {
    const Objects& one = s.classes[a];
    const Objects& other = s.classes[b];
    return one.live_bytes != other.live_bytes ? one.live_bytes > other.live_bytes : one.allocations > other.allocations;
  };
  bool shown[kClassEnd] = {};
  for (unsigned n = 0; n < used && n < kClassRows; ++n) {
    std::uint64_t best = 0;
    for (unsigned i = 0; i < used; ++i)
      if (!shown[order[i]] && (best == 0 || weighs_more(order[i], best))) best = order[i];
    shown[best] = true;
  }
  Objects others;
  unsigned others_count = 0;
  for (unsigned n = 0; n < used; ++n) {
    const auto c = static_cast<unsigned>(order[n]);
    if (shown[c]) {
      TextOf<32> name;
      name << "size " << std::uint64_t{kSizeClasses.slot_size[c]};
      write_row_of_slabs(text, name.view(), s.classes[c]);
      continue;
    }
    ++others_count;
    others.add(s.classes[c]);
  }
  if (others_count != 0) {
    TextOf<32> name;
    name << std::uint64_t{others_count} << " others";
    write_row_of_slabs(text, name.view(), others);
  }
  write_row_of_slabs(text, "all small", s.all_small);
  write_row(text, "large", s.large);
  text << '\n';
  if (s.has_routes) {
    write_row(text, "in blocks", s.bump);
    text << '\n';
  }
  if (s.in_handlers.allocations != 0) {
    write_row(text, "in handlers", s.in_handlers);
    text << '\n';
  }
  write_row(text, "total", s.total);
  text << '\n';
}

// What decided: how often the class is allocated, or what it holds and would hold the other way.
void write_move(Text& text, const heap::auto_routes::Move& move) {
  text << "    size " << std::uint64_t{slot_size(move.c)} << " from " << heap::auto_routes::name_of(move.from) << " to "
       << heap::auto_routes::name_of(move.to) << " at ";
  text.seconds(move.at) << ", " << heap::auto_routes::name_of(move.reason);
  if (move.allocated != 0) {
    text << "; " << move.allocated << " allocated in ";
    text.seconds(move.milliseconds);
  }
  if (move.life_bytes != 0) text << ", " << move.freed << " freed: an object lives for " << move.life_bytes << " bytes of these";
  if (move.live != 0)
    text << "; " << move.live << " live in " << move.held_before << " bytes, " << move.held_after << " expected";
  text << '\n';
}

void write_auto_routes(Text& text, const heap::auto_routes::Facts& facts) {
  text << "  auto      " << facts.moves << " moves in " << facts.looks << " looks, " << facts.away << " size classes away from pools; "
       << facts.missed_looks << " looks missed; looks took " << (facts.nanoseconds + 500) / 1000 << " us\n";
  for (const heap::auto_routes::Move& move : std::span(facts.kept_moves).first(facts.kept)) write_move(text, move);
}

// The three ways, each with what it holds that is nobody's.
void write_routes(Text& text, const Snapshot& s) {
  const auto write_route = [&text](const char* name, const Objects& objects) -> Text& {
    text << "  ";
    text.left(name, 10) << objects.allocations << " objects, " << objects.live << " live of " << objects.live_bytes << " bytes; ";
    return text;
  };
  text << "routes\n";
  write_route("pool", s.all_small) << s.pooled_bytes + s.depot_bytes + s.slab_free_bytes << " bytes held free\n";
  write_route("bump", s.bump) << s.bump.dead_bytes << " bytes held dead; " << s.bump.allocated_bytes << " bytes allocated; "
                              << s.bump.rewinds << " rewinds, " << s.bump.blocks_taken << " blocks taken, " << s.bump.reuses
                              << " times one used again, " << s.bump.blocks << " now of " << s.bump.block_bytes << " bytes, limit "
                              << s.bump.limit_bytes << ", met " << s.bump.passed_on << " times\n";
  write_route("node", s.large) << s.dirty_bytes << " bytes held dirty\n";
  if (s.auto_routes.are_on) write_auto_routes(text, s.auto_routes);
}

void write_budget(Text& text, const Snapshot& s) {
  const stats::Budget& budget = s.budget;
  text << "budget    ";
  if (budget.hard_limit == kNoLimit) text << "no limit";
  else
    text << "limit " << budget.hard_limit << ", the last " << budget.reserve_bytes << " for small requests, "
         << budget.reserve_used_bytes << " of them used";
  if (budget.soft_limit != kNoLimit) text << ", soft limit " << budget.soft_limit;
  text << "; peak " << s.committed_peak_bytes << "; hit " << budget.hits << " times, reclaimed "
       << budget.reclaimed_bytes << " bytes; refused " << budget.refusals << " requests, largest "
       << budget.largest_refused_bytes << " bytes";
  if (budget.soft_limit != kNoLimit)
    text << "; above the soft limit " << s.reclaim.soft_crossings << " times, let go " << s.reclaim.soft_let_go << " times";
  text << '\n';
}

void write_whose(Text& text, const stats::AccountRow& row) {
  switch (row.kind) {
    case config::AccountKind::kNode:
      (text << "  node      ").plain(row.node);
      return;
    case config::AccountKind::kThread:
      (text << "  thread    " << row.name << " (").plain(static_cast<std::uint64_t>(row.thread_id)) << (row.has_ended ? ", ended" : "");
      if (row.inherited_bytes != 0) text << ", " << row.inherited_bytes << " inherited";
      text << ')';
      return;
    case config::AccountKind::kModule: text << "  module    " << row.name; return;
    default:
      text << "  size      " << row.first_size << " to ";
      if (row.last_size == kNoLimit) text << "any";
      else text << row.last_size;
  }
}

void write_refusals(Text& text, const Account::Counts& counts) {
  text << "; hit " << counts.hits << " times; refused " << counts.refusals << " requests, largest " << counts.largest_refused_bytes
       << " bytes\n";
}

void write_account(Text& text, const stats::AccountRow& row) {
  if (row.kind == config::AccountKind::kTree) {
    text << "  tree      limit " << row.hard_limit << "; " << row.charged_bytes << " charged to " << row.processes
         << " processes, " << row.share_bytes << " to this one; " << row.found_dead << " found dead";
  } else {
    write_whose(text, row);
    text << ": limit " << row.hard_limit << "; " << row.charged_bytes << " charged";
  }
  text << "; peak " << row.peak_bytes;
  write_refusals(text, row);
}

void write_thread_accounts(Text& text, const stats::ThreadAccounts& all) {
  if (!all.are_set) return;
  text << "  threads   " << all.count << " accounts, " << all.shown << " of them shown; " << all.charged_bytes << " charged; "
       << all.without << " times there was none to be had";
  write_refusals(text, all.counts);
}

void write_reclaim(Text& text, const Snapshot& s) {
  std::uint64_t runs = 0;
  for (const heap::StepFacts& step : s.steps) runs += step.runs;
  if (runs != 0) {
    text << "  reclaim   ";
    for (unsigned i = 0; i < std::size(s.steps); ++i) {
      const heap::StepFacts& step = s.steps[i];
      if (i != 0) text << "; ";
      text << stats::name_of(static_cast<heap::Step>(i)) << ' ' << step.runs << " times, " << step.bytes << " bytes, ";
      text.seconds((step.nanoseconds + 500'000) / 1'000'000);
    }
    text << '\n';
  }
  std::uint64_t waits = s.budget.waits;
  std::uint64_t over_limit = s.budget.over_limit;
  for (unsigned i = 0; i < s.account_count; ++i) {
    waits += s.accounts[i].waits;
    over_limit += s.accounts[i].over_limit;
  }
  if (waits + over_limit != 0)
    text << "  actions   " << waits << " requests waited, " << over_limit << " charges went over a limit\n";
  if (s.reclaim.pressure_looks != 0)
    text << "  pressure  " << s.reclaim.pressure_looks << " looks, " << s.reclaim.pressure_moderate << " times moderate, "
         << s.reclaim.pressure_severe << " severe; " << s.reclaim.pressure_bytes << " bytes given back for it\n";
}

void write_estimate(Text& text, const profiling::Sums& sums) {
  text << "about " << sums.bytes() << " bytes (standard error " << sums.bytes_error() << ") in " << sums.objects() << " objects";
}

// 16 us, 1.02 ms, 2,147.48 s
void write_time(Text& text, std::uint64_t microseconds) {
  if (microseconds < 1000) {
    text << microseconds << " us";
    return;
  }
  const bool is_short = microseconds < 1'000'000;
  const std::uint64_t hundredths = microseconds / (is_short ? 10 : 10'000);
  text << hundredths / 100 << '.' << static_cast<char>('0' + hundredths / 10 % 10) << static_cast<char>('0' + hundredths % 10)
       << (is_short ? " ms" : " s");
}

void write_lives(Text& text, const stats::Profile& profile) {
  text << "  lives                 objects freed      bytes freed       objects live       bytes live\n";
  for (unsigned i = 0; i < profiling::sites::kLifetimes; ++i) {
    const profiling::Sums& freed = profile.freed_by_life[i];
    const profiling::Sums& live = profile.live_by_age[i];
    if (freed.samples + live.samples == 0) continue;
    TextOf<40> name;
    const std::uint64_t end = profiling::sites::lifetime_end_microseconds(i);
    name << (end != 0 ? "below " : "from ");
    write_time(name, end != 0 ? end : profiling::sites::lifetime_end_microseconds(i - 1));
    text << "  ";
    text.left(name.view(), 18).right(freed.objects(), 17).right(freed.bytes(), 17).right(live.objects(), 19).right(live.bytes(), 17) << '\n';
  }
}

void write_profile(Text& text, const Snapshot& s) {
  const profiling::sites::Counts& counts = s.profile.counts;
  text << "profile   one sample in " << s.profile.period_bytes << " bytes: " << counts.samples << " samples, " << counts.freed
       << " of them freed, at " << counts.sites << " sites in " << counts.table_bytes << " bytes; " << counts.lost << " lost, "
       << counts.unplaced << " without a site\n";
  text << "  live      ";
  write_estimate(text, s.profile.totals.live);
  text << "\n  allocated ";
  write_estimate(text, s.profile.totals.all);
  text << '\n';
  if (counts.samples != 0) write_lives(text, s.profile);
}

// What was asked for by variables, and what was had.
void write_pages(Text& text, const Snapshot& s) {
  text << "pages     " << s.purges.purges << " purges of " << s.purges.purged_bytes << " bytes, " << s.purges.refusals
       << " refused; " << s.purges.moves << " moves of " << s.purges.moved_bytes << " bytes; " << s.grown_in_place
       << " objects grown in place; huge pages asked for in " << s.huge_regions << " regions (system: "
       << s.huge_page_mode << ")\n";
  text << "  slabs     " << s.all_small.empty_slabs << " of " << s.all_small.slabs
       << " hold nothing: whoever needs memory gets them; looked at " << s.holes.looks << " times for pages that hold nothing, "
       << s.holes.bytes << " bytes of them given back\n";
  if (s.reserve.asked_bytes != 0)
    text << "  reserve   " << s.reserve.asked_bytes << " bytes asked for, " << s.reserve.obtained_bytes << " obtained, "
         << s.reserve.touched_bytes << " touched\n";
  if (s.page_policy.uses_huge_tlb)
    text << "  hugetlb   " << s.huge_tlb.asked_regions * kRegionSize << " bytes asked for, " << s.huge_tlb.regions * kRegionSize
         << " obtained; refused " << s.huge_tlb.refusals << " times\n";
  if (s.page_policy.locks)
    text << "  lock      " << s.locked.asked_bytes << " bytes asked for, " << s.locked.obtained_bytes << " obtained; refused "
         << s.locked.refusals << " times\n";
  if (s.page_policy.idle_pages != os::Advice::kNone)
    text << "  kind      " << config::purge_kind_of(s.page_policy.idle_pages) << ": the system was advised " << s.purges.advices
         << " times, about " << s.purges.advised_bytes << " bytes; refused " << s.purges.advice_refusals << " times\n";
}

void write_rest(Text& text, const Snapshot& s) {
  text << "\nthreads   " << s.threads.threads_started << " started, " << s.threads.threads_now << " now, "
       << s.threads.heaps << " heaps; " << s.threads.refills << " refills, " << s.threads.flushes << " flushes; depots "
       << s.deposits << " batches in, " << s.withdrawals << " out; " << s.lock_waits << " waits for a lock\n";
  if (s.has_routes) write_routes(text, s);
  write_budget(text, s);
  for (unsigned i = 0; i < s.account_count; ++i) write_account(text, s.accounts[i]);
  write_thread_accounts(text, s.thread_accounts);
  write_reclaim(text, s);
  write_pages(text, s);
  text << "waste     about " << s.internal_waste_bytes << " bytes of live slots not asked for (from " << s.sampled_requests
       << " requests); " << s.external_bytes() << " bytes committed and neither live nor metadata\n";
  if (s.profile.period_bytes != 0) write_profile(text, s);
  text << "misuse    " << s.misuse.double_frees << " double frees, " << s.misuse.invalid_frees << " invalid frees, "
       << s.misuse.foreign_pointers << " foreign pointers, " << s.misuse.foreign_to_libc << " of them libc's\n";
  if (s.heap.signal_allocations + s.heap.deferred_frees + s.heap.lost_frees != 0)
    text << "handlers  " << s.heap.signal_allocations << " allocations inside an interrupted allocation, "
         << s.heap.deferred_frees << " frees put off, " << s.heap.lost_frees << " lost\n";
}

void write_advice(Text& text, const Snapshot& s) {
  for_each_advice(s, &text, [](void* target, std::string_view words) {
    *static_cast<Text*>(target) << "advice    " << words << '\n';
  });
}

}  // namespace

void write_text(Text& text, const Occasion& occasion, const Snapshot& snapshot) {
  write_heading(text, occasion, snapshot.process);
  write_ladder(text, snapshot);
  write_objects(text, snapshot);
  write_rest(text, snapshot);
  write_advice(text, snapshot);
  write_nodes(text, snapshot.nodes);
}

}  // namespace nebula::report
