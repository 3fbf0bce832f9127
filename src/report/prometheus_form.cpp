// Prometheus' text format, version 0.0.4, as node_exporter's textfile collector reads it. Every sample has the labels
// program and pid, so that the files of many processes may lie in one folder.
#include "budget/account.hpp"
#include "report/forms.hpp"

namespace nebula::report {
namespace {

using stats::Objects;
using stats::Snapshot;

class Exposition {
 public:
  Exposition(Text& text, const stats::Process& process) : text_(text), process_(process) {}

  void begin(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ << "# HELP nebula_" << name << ' ' << help << "\n# TYPE nebula_" << name << ' ' << type << '\n';
  }
  void gauge(std::string_view name, std::string_view help) { begin(name, "gauge", help); }
  void counter(std::string_view name, std::string_view help) { begin(name, "counter", help); }

  void sample(std::uint64_t value) {
    begin_sample();
    end_sample(value);
  }
  void sample(std::string_view label, std::string_view label_value, std::uint64_t value) {
    begin_sample();
    text_ << ',' << label << "=\"" << label_value << '"';
    end_sample(value);
  }
  void sample(std::string_view label, std::uint64_t label_value, std::uint64_t value) {
    begin_sample();
    text_ << ',' << label << "=\"";
    text_.plain(label_value) << '"';
    end_sample(value);
  }
  // Of one account; `whose` as the report's text has it.
  void sample_of(std::string_view kind, std::string_view whose, std::uint64_t value) {
    begin_sample();
    text_ << ",kind=\"" << kind << "\",whose=\"";
    write_escaped(whose);
    text_ << '"';
    end_sample(value);
  }
  void seconds(std::uint64_t milliseconds) {
    begin_sample();
    text_ << "} ";
    text_.plain(milliseconds / 1000) << '.' << static_cast<char>('0' + milliseconds / 100 % 10)
                                     << static_cast<char>('0' + milliseconds / 10 % 10)
                                     << static_cast<char>('0' + milliseconds % 10) << '\n';
  }

 private:
  void begin_sample() {
    text_ << "nebula_" << name_ << "{program=\"";
    write_escaped(process_.program);
    text_ << "\",pid=\"";
    text_.plain(static_cast<std::uint64_t>(process_.id)) << '"';
  }
  void write_escaped(std::string_view rest) {
    while (!rest.empty()) {
      const unsigned length = utf8_length(rest);
      const char letter = rest[0];
      if (letter == '"' || letter == '\\') text_ << '\\' << letter;
      else if (letter == '\n') text_ << "\\n";
      else if (length == 0) text_ << "\xef\xbf\xbd";  // U+FFFD
      else text_ << start_of(rest, length);
      rest.remove_prefix(length == 0 ? 1 : length);
    }
  }
  void end_sample(std::uint64_t value) {
    text_ << "} ";
    text_.plain(value) << '\n';
  }

  Text& text_;
  const stats::Process& process_;
  std::string_view name_;
};

void write_process(Exposition& out, const Occasion& occasion, const Snapshot& s) {
  const stats::Process& process = s.process;
  out.gauge("report_time_seconds", "When the report was written, since 1970.");
  out.seconds(occasion.at_milliseconds);
  out.gauge("at_rest", "1 when the numbers are of one moment, 0 when threads would not pause.");
  out.sample(s.at_rest ? 1 : 0);
  out.gauge("elapsed_seconds", "Since the start of the process.");
  out.seconds(process.elapsed_milliseconds);
  out.counter("cpu_seconds_total", "Processor time of the process.");
  out.seconds((process.usage.user_microseconds + process.usage.system_microseconds) / 1000);
  out.counter("page_faults_total", "Page faults of the process.");
  out.sample("kind", "minor", process.usage.minor_faults);
  out.sample("kind", "major", process.usage.major_faults);
  if (process.resident_bytes != stats::kUnknown) {
    out.gauge("resident_bytes", "Memory of the whole process that is resident.");
    out.sample(process.resident_bytes);
    out.gauge("swapped_bytes", "Memory of the whole process that is swapped out.");
    out.sample(process.swapped_bytes);
  }
  out.gauge("resident_peak_bytes", "The highest resident memory of the whole process.");
  out.sample(process.usage.peak_resident_bytes);
}

void write_memory(Exposition& out, const Snapshot& s) {
  out.gauge("memory_bytes", "The parts that committed memory is made of.");
  out.sample("part", "live", s.total.live_bytes);
  out.sample("part", "pools", s.pooled_bytes);
  out.sample("part", "depots", s.depot_bytes);
  out.sample("part", "slabs_free", s.slab_free_bytes);
  out.sample("part", "blocks_dead", s.bump.dead_bytes);
  out.sample("part", "dirty_spans", s.dirty_bytes);
  out.sample("part", "metadata", s.metadata_bytes);
  out.gauge("committed_bytes", "Committed memory, as the budget counts it.");
  out.sample(s.committed_bytes);
  out.gauge("mapped_bytes", "Address space that is mapped.");
  out.sample(s.mapped_bytes);
  out.gauge("committed_peak_bytes", "The highest value of committed memory, exact.");
  out.sample(s.committed_peak_bytes);
  out.gauge("committed_peak_elapsed_seconds", "When that was, since the start of the process.");
  out.seconds(s.committed_peak_at_milliseconds);
  out.gauge("in_use_peak_bytes", "The highest value of live, pools and depots together.");
  out.sample(s.in_use_peak_bytes);
  out.gauge("internal_waste_bytes", "Bytes of live small objects that were not asked for, estimated.");
  out.sample(s.internal_waste_bytes);
}

struct Column {
  std::string_view name;
  bool is_counter;
  std::string_view help;
  std::uint64_t Objects::*value;
};
constexpr Column kColumns[] = {
    {"allocations_total", true, "Objects allocated", &Objects::allocations},
    {"frees_total", true, "Objects freed", &Objects::frees},
    {"live_objects", false, "Objects in the program's hands", &Objects::live},
    {"live_bytes", false, "Bytes of these at the size of their slots or pages", &Objects::live_bytes},
    {"slab_bytes", false, "Bytes of their slabs at full size", &Objects::slab_bytes},
    {"empty_slabs", false, "Slabs of these that hold nothing, which whoever needs memory gets", &Objects::empty_slabs},
};

void write_objects(Exposition& out, const Snapshot& s) {
  for (const Column& column : kColumns) {
    TextOf<64> help;
    help << column.help << ", by kind.";
    out.begin(column.name, column.is_counter ? "counter" : "gauge", help.view());
    out.sample("kind", "small", s.all_small.*column.value);
    out.sample("kind", "large", s.large.*column.value);
    out.sample("kind", "in_blocks", s.bump.*column.value);
    out.sample("kind", "in_handlers", s.in_handlers.*column.value);
    TextOf<64> name;
    name << "size_class_" << column.name;
    TextOf<96> class_help;
    class_help << column.help << ", by size class.";
    out.begin(name.view(), column.is_counter ? "counter" : "gauge", class_help.view());
    s.for_each_class_used([&](SizeClass c, const stats::ClassRow& row) { out.sample("size", slot_size(c), row.*column.value); });
  }
}

void write_threads(Exposition& out, const Snapshot& s) {
  out.counter("threads_started_total", "Threads that ever allocated.");
  out.sample(s.threads.threads_started);
  out.gauge("threads", "Threads that allocate now.");
  out.sample(s.threads.threads_now);
  out.gauge("thread_heaps", "Sets of pools.");
  out.sample(s.threads.heaps);
  out.counter("refills_total", "Refills of pools.");
  out.sample(s.threads.refills);
  out.counter("flushes_total", "Flushes of pools.");
  out.sample(s.threads.flushes);
  out.counter("depot_batches_total", "Batches into and out of depots.");
  out.sample("direction", "in", s.deposits);
  out.sample("direction", "out", s.withdrawals);
  out.counter("lock_waits_total", "Times that a thread waited for the lock of a size class.");
  out.sample(s.lock_waits);
}

void write_bump(Exposition& out, const Snapshot& s) {
  out.counter("bump_allocated_bytes_total", "Bytes of objects allocated in bump blocks.");
  out.sample(s.bump.allocated_bytes);
  out.counter("bump_rewinds_total", "Times that the mark of a bump block moved back.");
  out.sample(s.bump.rewinds);
  out.counter("bump_blocks_taken_total", "Bump blocks taken from the node heap.");
  out.sample(s.bump.blocks_taken);
  out.counter("bump_reuses_total", "Times that a bump block was used again from its start.");
  out.sample(s.bump.reuses);
  out.gauge("bump_block_bytes", "Address space of bump blocks.");
  out.sample(s.bump.block_bytes);
  out.counter("bump_passed_on_total", "Times that NEBULA_ROUTE_BUMP_LIMIT left no further block.");
  out.sample(s.bump.passed_on);
}

void write_auto_routes(Exposition& out, const heap::auto_routes::Facts& facts) {
  if (!facts.are_on) return;
  out.counter("route_moves_total", "Size classes that NEBULA_ROUTE=auto moved, by the route they came to.");
  for (const config::Route route : {config::Route::kPool, config::Route::kBump, config::Route::kNode})
    out.sample("to", heap::auto_routes::name_of(route), facts.moves_to[static_cast<unsigned>(route)]);
  out.gauge("route_classes_away", "Size classes that it has moved away from pools now.");
  out.sample(facts.away);
  out.counter("route_looks_total", "Looks at all size classes for that.");
  out.sample("result", "done", facts.looks);
  out.sample("result", "missed", facts.missed_looks);
}

void write_budget(Exposition& out, const Snapshot& s) {
  const stats::Budget& budget = s.budget;
  if (budget.hard_limit != kNoLimit || budget.soft_limit != kNoLimit) {
    out.gauge("budget_limit_bytes", "Limits on committed memory.");
    if (budget.hard_limit != kNoLimit) out.sample("limit", "hard", budget.hard_limit);
    if (budget.soft_limit != kNoLimit) out.sample("limit", "soft", budget.soft_limit);
  }
  out.counter("budget_hits_total", "Requests that met the hard limit.");
  out.sample(budget.hits);
  out.counter("budget_reclaimed_bytes_total", "Memory given back for the budget.");
  out.sample(budget.reclaimed_bytes);
  out.counter("refused_requests_total", "Requests refused for good.");
  out.sample("by", "budget", budget.refusals);
  out.sample("by", "system", s.heap.system_refusals);
}

using AccountNumber = std::uint64_t (*)(const stats::AccountRow& row);

void write_accounts(Exposition& out, const Snapshot& s, AccountNumber number) {
  for (unsigned i = 0; i < s.account_count; ++i) {
    const stats::AccountRow& row = s.accounts[i];
    TextOf<64> whose;
    switch (row.kind) {
      case config::AccountKind::kNode: whose.plain(row.node); break;
      case config::AccountKind::kThread: (whose << row.name << ' ').plain(static_cast<std::uint64_t>(row.thread_id)); break;
      case config::AccountKind::kModule: whose << row.name; break;
      case config::AccountKind::kSize: whose.plain(row.first_size) << '-'; break;
      default: whose << "all";
    }
    out.sample_of(config::name_of(row.kind), whose.view(), number(row));
  }
}

void write_accounts(Exposition& out, const Snapshot& s) {
  if (s.account_count == 0) return;
  out.gauge("account_limit_bytes", "Limits of accounts beside the process's.");
  write_accounts(out, s, [](const stats::AccountRow& row) { return row.hard_limit; });
  out.gauge("account_charged_bytes", "What is charged to these accounts.");
  write_accounts(out, s, [](const stats::AccountRow& row) { return row.charged_bytes; });
  out.gauge("account_peak_bytes", "The most that was.");
  write_accounts(out, s, [](const stats::AccountRow& row) { return row.peak_bytes; });
  out.counter("account_refused_requests_total", "Requests that these accounts had no room for.");
  write_accounts(out, s, [](const stats::AccountRow& row) { return row.refusals; });
}

struct NodeColumn {
  const char* name;
  const char* help;
  bool is_counter;
  std::uint64_t (*number)(const stats::NodeRow& row);
};
constexpr NodeColumn kNodeColumns[] = {
    {"node_heap_in_use_bytes", "By node heap: slots outside of slabs, and large objects.", false,
     [](const stats::NodeRow& row) { return row.in_use_bytes; }},
    {"node_heap_committed_bytes", "By node heap: committed memory.", false, [](const stats::NodeRow& row) { return row.committed_bytes; }},
    {"node_heap_returned_total", "By node heap: objects that threads of other nodes freed.", true,
     [](const stats::NodeRow& row) { return row.traffic.returned; }},
    {"node_heap_fallbacks_total", "By node heap: requests that another had to meet.", true,
     [](const stats::NodeRow& row) { return row.traffic.fallbacks; }},
    {"node_heap_arrivals_total", "By node heap: threads that came from another.", true,
     [](const stats::NodeRow& row) { return row.traffic.arrivals; }},
};

void write_nodes(Exposition& out, const Snapshot& s) {
  if (s.nodes.count <= 1) return;
  for (const NodeColumn& column : kNodeColumns) {
    out.begin(column.name, column.is_counter ? "counter" : "gauge", column.help);
    for (unsigned i = 0; i < s.nodes.count; ++i) {
      TextOf<64> purpose;
      placement::write_purpose(purpose, static_cast<HeapId>(i));
      out.sample("heap", purpose.view(), column.number(s.nodes.rows[i]));
    }
  }
}

void write_profile(Exposition& out, const Snapshot& s) {
  const stats::Profile& profile = s.profile;
  if (profile.period_bytes == 0) return;
  out.gauge("profile_period_bytes", "Mean bytes between the samples of the heap profile.");
  out.sample(profile.period_bytes);
  out.counter("profile_samples_total", "Allocations that were samples, and what became of them.");
  out.sample("state", "followed", profile.counts.samples);
  out.sample("state", "freed", profile.counts.freed);
  out.sample("state", "lost", profile.counts.lost);
  out.sample("state", "without_site", profile.counts.unplaced);
  out.gauge("profile_sites", "Call sites that samples came from.");
  out.sample(profile.counts.sites);
  out.gauge("profile_table_bytes", "Bytes of the profile's tables.");
  out.sample(profile.counts.table_bytes);
  out.gauge("profile_bytes", "Bytes estimated from the samples.");
  out.sample("of", "live", profile.totals.live.bytes());
  out.sample("of", "allocated", profile.totals.all.bytes());
  out.gauge("profile_standard_error_bytes", "One standard error of these estimates.");
  out.sample("of", "live", profile.totals.live.bytes_error());
  out.sample("of", "allocated", profile.totals.all.bytes_error());
  out.gauge("profile_objects", "Objects estimated from the samples.");
  out.sample("of", "live", profile.totals.live.objects());
  out.sample("of", "allocated", profile.totals.all.objects());
}

void write_rest(Exposition& out, const Snapshot& s) {
  out.counter("purges_total", "Times that memory was given back to the system.");
  out.sample(s.purges.purges);
  out.counter("purged_bytes_total", "Memory given back to the system.");
  out.sample(s.purges.purged_bytes);
  out.counter("slab_purged_bytes_total", "Pages of slabs in use that held nothing, given back after a look.");
  out.sample(s.holes.bytes);
  out.counter("advised_bytes_total", "Idle memory that the system was advised about and that stays committed.");
  out.sample(s.purges.advised_bytes);
  out.counter("advice_refusals_total", "Times that the system refused such advice.");
  out.sample(s.purges.advice_refusals);
  out.gauge("reserve_bytes", "Memory had ready at the start.");
  out.sample("part", "asked", s.reserve.asked_bytes);
  out.sample("part", "obtained", s.reserve.obtained_bytes);
  out.sample("part", "touched", s.reserve.touched_bytes);
  out.gauge("hugetlb_bytes", "Memory that growth asked of the pool of huge pages, and got.");
  out.sample("part", "asked", s.huge_tlb.asked_regions * kRegionSize);
  out.sample("part", "obtained", s.huge_tlb.regions * kRegionSize);
  out.gauge("locked_bytes", "Memory that is mapped to be locked, and that is.");
  out.sample("part", "asked", s.locked.asked_bytes);
  out.sample("part", "obtained", s.locked.obtained_bytes);
  out.gauge("huge_page_regions", "Regions of 2 MiB for which huge pages were asked.");
  out.sample(s.huge_regions);
  out.counter("misuse_total", "Frees of what is no object, by what they were.");
  out.sample("kind", "double_free", s.misuse.double_frees);
  out.sample("kind", "invalid_free", s.misuse.invalid_frees);
  out.sample("kind", "foreign_pointer", s.misuse.foreign_pointers);
}

}  // namespace

void write_prometheus(Text& text, const Occasion& occasion, const Snapshot& snapshot) {
  Exposition out(text, snapshot.process);
  write_process(out, occasion, snapshot);
  write_memory(out, snapshot);
  write_objects(out, snapshot);
  write_threads(out, snapshot);
  write_bump(out, snapshot);
  write_auto_routes(out, snapshot.auto_routes);
  write_budget(out, snapshot);
  write_accounts(out, snapshot);
  write_nodes(out, snapshot);
  write_profile(out, snapshot);
  write_rest(out, snapshot);
}

}  // namespace nebula::report
