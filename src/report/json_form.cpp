// The form for programs: what report.schema.json describes. A property is added here and there together.
#include <iterator>

#include "budget/account.hpp"
#include "config/config.hpp"
#include "report/forms.hpp"
#include "stats/advice.hpp"

#ifndef NEBULA_VERSION
#define NEBULA_VERSION "unknown"
#endif

namespace nebula::report {
namespace {

using stats::Objects;
using stats::Snapshot;

void write_limit(JsonWriter& json, std::string_view name, std::uint64_t value) {
  if (value == stats::kUnknown) json.null(name);
  else json.number(name, value);
}
static_assert(kNoLimit == stats::kUnknown);

void write_process(JsonWriter& json, const Occasion& occasion, const Snapshot& s) {
  const stats::Process& process = s.process;
  json.string("format", "nebula-report");
  json.number("schema_version", kSchemaVersion);
  json.string("nebula_version", NEBULA_VERSION);
  json.string("reason", name_of(occasion.reason));
  json.number("sequence", occasion.sequence);
  json.string("program", process.program);
  json.number("process_id", static_cast<std::uint64_t>(process.id));
  json.number("written_at_milliseconds", occasion.at_milliseconds);
  json.number("elapsed_milliseconds", process.elapsed_milliseconds);
  json.number("user_milliseconds", process.usage.user_microseconds / 1000);
  json.number("system_milliseconds", process.usage.system_microseconds / 1000);
  json.number("minor_faults", process.usage.minor_faults);
  json.number("major_faults", process.usage.major_faults);
  write_limit(json, "resident_bytes", process.resident_bytes);
  write_limit(json, "swapped_bytes", process.swapped_bytes);
  json.number("peak_resident_bytes", process.usage.peak_resident_bytes);
  json.open_object("options");
  for (std::size_t i = 0; i < config::options().size(); ++i)
    if (const std::string_view value = config::written_value(i); !value.empty())
      json.string(config::options()[i].name, value);
  json.close_object();
}

void write_memory(JsonWriter& json, const Snapshot& s) {
  json.boolean("at_rest", s.at_rest);
  json.number("difference_bytes", s.difference());
  json.open_object("memory");
  json.number("live_bytes", s.total.live_bytes);
  json.number("pooled_bytes", s.pooled_bytes);
  json.number("depot_bytes", s.depot_bytes);
  json.number("slab_free_bytes", s.slab_free_bytes);
  json.number("block_dead_bytes", s.bump.dead_bytes);
  json.number("dirty_span_bytes", s.dirty_bytes);
  json.number("metadata_bytes", s.metadata_bytes);
  json.number("committed_bytes", s.committed_bytes);
  json.number("untouched_bytes", s.untouched_bytes());
  json.number("mapped_bytes", s.mapped_bytes);
  json.number("committed_peak_bytes", s.committed_peak_bytes);
  json.number("committed_peak_at_milliseconds", s.committed_peak_at_milliseconds);
  json.number("in_use_peak_bytes", s.in_use_peak_bytes);
  json.close_object();
}

void write_objects(JsonWriter& json, const Objects& objects) {
  json.number("allocations", objects.allocations);
  json.number("frees", objects.frees);
  json.number("live", objects.live);
  json.number("live_bytes", objects.live_bytes);
  json.number("slabs", objects.slabs);
  json.number("slab_bytes", objects.slab_bytes);
  json.number("empty_slabs", objects.empty_slabs);
}

void write_objects(JsonWriter& json, std::string_view name, const Objects& objects) {
  json.open_object(name);
  write_objects(json, objects);
  json.close_object();
}

void write_classes(JsonWriter& json, const Snapshot& s) {
  json.open_object("objects");
  write_objects(json, "small", s.all_small);
  write_objects(json, "large", s.large);
  write_objects(json, "in_blocks", s.bump);
  write_objects(json, "in_handlers", s.in_handlers);
  write_objects(json, "total", s.total);
  json.close_object();
  json.open_array("size_classes");
  s.for_each_class_used([&](SizeClass c, const stats::ClassRow& row) {
    json.open_object();
    json.number("slot_bytes", slot_size(c));
    write_objects(json, row);
    json.number("pooled", row.pooled);
    json.number("in_depots", row.in_depot);
    json.number("refills", row.refills);
    json.number("flushes", row.flushes);
    json.number("lock_waits", row.lock_waits);
    json.number("sampled_requests", row.requests.count);
    json.number("sampled_request_bytes", row.requests.bytes);
    json.number("internal_waste_bytes", row.internal_waste_bytes);
    json.close_object();
  });
  json.close_array();
  json.open_object("fragmentation");
  json.number("internal_bytes", s.internal_waste_bytes);
  json.number("external_bytes", s.external_bytes());
  json.number("sampled_requests", s.sampled_requests);
  json.number("large_requests", s.large_requests.count);
  json.number("large_requested_bytes", s.large_requests.bytes);
  json.number("large_granted_bytes", s.large_granted_bytes);
  json.close_object();
}

void write_pools(JsonWriter& json, const stats::Pools& pools) {
  json.number("allocations", pools.allocations);
  json.number("frees", pools.frees);
  json.number("pooled_bytes", pools.pooled_bytes);
  json.number("refills", pools.refills);
  json.number("flushes", pools.flushes);
}

void write_threads(JsonWriter& json, const Snapshot& s) {
  json.open_object("threads");
  json.number("started", s.threads.threads_started);
  json.number("now", s.threads.threads_now);
  json.number("heaps", s.threads.heaps);
  json.number("refills", s.threads.refills);
  json.number("flushes", s.threads.flushes);
  json.number("depot_batches_in", s.deposits);
  json.number("depot_batches_out", s.withdrawals);
  json.number("lock_waits", s.lock_waits);
  json.close_object();
  json.open_array("thread_heaps");
  for (unsigned i = 0; i < s.heaps_shown; ++i) {
    const stats::HeapRow& row = s.heaps[i];
    json.open_object();
    json.number("index", row.index);
    json.number("thread_id", static_cast<std::uint64_t>(row.thread_id));
    json.boolean("in_use", row.in_use);
    write_pools(json, row);
    json.close_object();
  }
  json.close_array();
  json.open_object("other_thread_heaps");
  json.number("heaps", s.threads.heaps - s.heaps_shown);
  write_pools(json, s.other_heaps);
  json.close_object();
  json.open_object("without_thread_heap");
  json.number("allocations", s.direct_allocations);
  json.number("frees", s.direct_frees);
  json.close_object();
  json.number("misused_frees", s.misused_frees);
}

void write_whose(JsonWriter& json, const stats::AccountRow& row) {
  switch (row.kind) {
    case config::AccountKind::kNode: json.number("node", row.node); return;
    case config::AccountKind::kThread:
      json.string("name", row.name);
      json.number("thread_id", static_cast<std::uint64_t>(row.thread_id));
      json.boolean("has_ended", row.has_ended);
      json.number("inherited_bytes", row.inherited_bytes);
      return;
    case config::AccountKind::kModule: json.string("name", row.name); return;
    case config::AccountKind::kSize:
      json.number("first_size", row.first_size);
      write_limit(json, "last_size", row.last_size);
      return;
    default:
      json.number("processes", row.processes);
      json.number("share_bytes", row.share_bytes);
      json.number("found_dead", row.found_dead);
  }
}

void write_counts(JsonWriter& json, const Account::Counts& counts) {
  json.number("hits", counts.hits);
  json.number("waits", counts.waits);
  json.number("over_limit", counts.over_limit);
  json.number("refusals", counts.refusals);
  json.number("largest_refused_bytes", counts.largest_refused_bytes);
}

void write_account(JsonWriter& json, const stats::AccountRow& row) {
  json.open_object();
  json.string("kind", config::name_of(row.kind));
  write_whose(json, row);
  json.number("hard_limit_bytes", row.hard_limit);
  json.number("charged_bytes", row.charged_bytes);
  json.number("peak_bytes", row.peak_bytes);
  write_counts(json, row);
  json.close_object();
}

void write_thread_accounts(JsonWriter& json, const stats::ThreadAccounts& all) {
  json.open_object("thread_accounts");
  json.number("count", all.count);
  json.number("shown", all.shown);
  json.number("charged_bytes", all.charged_bytes);
  json.number("without", all.without);
  write_counts(json, all.counts);
  json.close_object();
}

void write_budget(JsonWriter& json, const Snapshot& s) {
  const stats::Budget& budget = s.budget;
  json.open_object("budget");
  write_limit(json, "hard_limit_bytes", budget.hard_limit);
  write_limit(json, "soft_limit_bytes", budget.soft_limit);
  json.number("reserve_bytes", budget.reserve_bytes);
  json.number("reserve_used_bytes", budget.reserve_used_bytes);
  json.number("hits", budget.hits);
  json.number("reclaimed_bytes", budget.reclaimed_bytes);
  json.number("refusals", budget.refusals);
  json.number("largest_refused_bytes", budget.largest_refused_bytes);
  json.number("soft_crossings", s.reclaim.soft_crossings);
  json.number("soft_let_go", s.reclaim.soft_let_go);
  json.number("system_refusals", s.heap.system_refusals);
  json.number("waits", budget.waits);
  json.number("over_limit", budget.over_limit);
  json.close_object();
  json.open_array("accounts");
  for (unsigned i = 0; i < s.account_count; ++i) write_account(json, s.accounts[i]);
  json.close_array();
  if (s.thread_accounts.are_set) write_thread_accounts(json, s.thread_accounts);
  json.open_array("reclaim");
  for (unsigned i = 0; i < std::size(s.steps); ++i) {
    json.open_object();
    json.string("step", stats::name_of(static_cast<heap::Step>(i)));
    json.number("runs", s.steps[i].runs);
    json.number("bytes", s.steps[i].bytes);
    json.number("milliseconds", (s.steps[i].nanoseconds + 500'000) / 1'000'000);
    json.close_object();
  }
  json.close_array();
  json.open_object("pressure");
  json.number("looks", s.reclaim.pressure_looks);
  json.number("moderate", s.reclaim.pressure_moderate);
  json.number("severe", s.reclaim.pressure_severe);
  json.number("given_back_bytes", s.reclaim.pressure_bytes);
  json.close_object();
}

void write_rest(JsonWriter& json, const Snapshot& s) {
  json.open_object("pages");
  json.number("purges", s.purges.purges);
  json.number("purged_bytes", s.purges.purged_bytes);
  json.number("purge_refusals", s.purges.refusals);
  json.number("slab_looks", s.holes.looks);
  json.number("slab_purged_bytes", s.holes.bytes);
  json.string("purge_kind", config::purge_kind_of(s.page_policy.idle_pages));
  json.number("advices", s.purges.advices);
  json.number("advised_bytes", s.purges.advised_bytes);
  json.number("advice_refusals", s.purges.advice_refusals);
  json.number("reserve_asked_bytes", s.reserve.asked_bytes);
  json.number("reserve_obtained_bytes", s.reserve.obtained_bytes);
  json.number("reserve_touched_bytes", s.reserve.touched_bytes);
  json.number("hugetlb_asked_bytes", s.huge_tlb.asked_regions * kRegionSize);
  json.number("hugetlb_obtained_bytes", s.huge_tlb.regions * kRegionSize);
  json.number("hugetlb_refusals", s.huge_tlb.refusals);
  json.number("lock_asked_bytes", s.locked.asked_bytes);
  json.number("lock_obtained_bytes", s.locked.obtained_bytes);
  json.number("lock_refusals", s.locked.refusals);
  json.number("moves", s.purges.moves);
  json.number("moved_bytes", s.purges.moved_bytes);
  json.number("grown_in_place", s.grown_in_place);
  json.number("huge_page_regions", s.huge_regions);
  json.string("huge_page_mode", s.huge_page_mode);
  json.close_object();
  json.open_object("misuse");
  json.number("double_frees", s.misuse.double_frees);
  json.number("invalid_frees", s.misuse.invalid_frees);
  json.number("foreign_pointers", s.misuse.foreign_pointers);
  json.number("foreign_to_libc", s.misuse.foreign_to_libc);
  json.close_object();
  json.open_object("handlers");
  json.number("deferred_frees", s.heap.deferred_frees);
  json.number("lost_frees", s.heap.lost_frees);
  json.close_object();
}

void write_bump(JsonWriter& json, const Snapshot& s) {
  json.open_object("bump");
  json.number("allocated_bytes", s.bump.allocated_bytes);
  json.number("rewinds", s.bump.rewinds);
  json.number("reuses", s.bump.reuses);
  json.number("blocks", s.bump.blocks);
  json.number("block_bytes", s.bump.block_bytes);
  json.number("blocks_taken", s.bump.blocks_taken);
  json.number("limit_bytes", s.bump.limit_bytes);
  json.number("passed_on", s.bump.passed_on);
  json.close_object();
}

void write_move(JsonWriter& json, const heap::auto_routes::Move& move) {
  json.open_object();
  json.number("slot_bytes", slot_size(move.c));
  json.string("from", heap::auto_routes::name_of(move.from));
  json.string("to", heap::auto_routes::name_of(move.to));
  json.string("reason", heap::auto_routes::name_of(move.reason));
  json.number("at_milliseconds", move.at);
  json.number("window_milliseconds", move.milliseconds);
  json.number("allocated", move.allocated);
  json.number("freed", move.freed);
  json.number("live", move.live);
  json.number("life_bytes", move.life_bytes);
  json.number("held_bytes", move.held_before);
  json.number("expected_bytes", move.held_after);
  json.close_object();
}

void write_auto_routes(JsonWriter& json, const heap::auto_routes::Facts& facts) {
  if (!facts.are_on) return json.null("auto_routes");
  json.open_object("auto_routes");
  json.number("looks", facts.looks);
  json.number("missed_looks", facts.missed_looks);
  json.number("look_microseconds", (facts.nanoseconds + 500) / 1000);
  json.number("classes_away", facts.away);
  json.number("moves", facts.moves);
  json.open_array("first_moves");
  for (const heap::auto_routes::Move& move : std::span(facts.kept_moves).first(facts.kept)) write_move(json, move);
  json.close_array();
  json.close_object();
}

void write_nodes(JsonWriter& json, const stats::Nodes& nodes) {
  json.open_array("node_heaps");
  for (unsigned heap = 0; nodes.count > 1 && heap < nodes.count; ++heap) {
    const stats::NodeRow& row = nodes.rows[heap];
    TextOf<64> purpose;
    placement::write_purpose(purpose, static_cast<HeapId>(heap));
    json.open_object();
    json.string("purpose", purpose.view());
    json.number("in_use_bytes", row.in_use_bytes);
    json.number("committed_bytes", row.committed_bytes);
    json.number("looked_at_pages", row.looked_at_pages);
    json.number("resident_pages", row.resident_pages);
    json.number("local_pages", row.local_pages);
    json.number("returned", row.traffic.returned);
    json.number("fallbacks", row.traffic.fallbacks);
    json.number("arrivals", row.traffic.arrivals);
    json.number("placement_refusals", row.placement_refusals);
    json.close_object();
  }
  json.close_array();
}

void write_estimate(JsonWriter& json, const profiling::Sums& sums) {
  json.number("samples", sums.samples);
  json.number("objects", sums.objects());
  json.number("bytes", sums.bytes());
}

void write_estimate(JsonWriter& json, std::string_view name, const profiling::Sums& sums) {
  json.open_object(name);
  write_estimate(json, sums);
  json.number("bytes_standard_error", sums.bytes_error());
  json.close_object();
}

void write_lives(JsonWriter& json, std::string_view name, const profiling::Sums (&lives)[profiling::sites::kLifetimes]) {
  json.open_array(name);
  for (unsigned i = 0; i < profiling::sites::kLifetimes; ++i) {
    if (lives[i].samples == 0) continue;
    const std::uint64_t end = profiling::sites::lifetime_end_microseconds(i);
    json.open_object();
    write_limit(json, "below_microseconds", end != 0 ? end : stats::kUnknown);
    write_estimate(json, lives[i]);
    json.close_object();
  }
  json.close_array();
}

void write_profile(JsonWriter& json, const Snapshot& s) {
  const stats::Profile& profile = s.profile;
  if (profile.period_bytes == 0) return json.null("profile");
  json.open_object("profile");
  json.number("period_bytes", profile.period_bytes);
  json.number("samples", profile.counts.samples);
  json.number("freed_samples", profile.counts.freed);
  json.number("lost_samples", profile.counts.lost);
  json.number("samples_without_site", profile.counts.unplaced);
  json.number("sites", profile.counts.sites);
  json.number("table_bytes", profile.counts.table_bytes);
  write_estimate(json, "live", profile.totals.live);
  write_estimate(json, "allocated", profile.totals.all);
  write_lives(json, "freed_by_lifetime", profile.freed_by_life);
  write_lives(json, "live_by_age", profile.live_by_age);
  json.close_object();
}

void write_timeline(JsonWriter& json, const Snapshot& s, Layout layout) {
  json.open_array("timeline");
  if (layout == Layout::kLines)
    for (const stats::Point& point : s.timeline) {
      json.open_object();
      json.number("milliseconds", point.milliseconds);
      json.number("live_bytes", point.live_bytes);
      json.number("committed_bytes", point.committed_bytes);
      write_limit(json, "resident_bytes", point.resident_bytes);
      json.close_object();
    }
  json.close_array();
}

void write_advice(JsonWriter& json, const Snapshot& s) {
  json.open_array("advice");
  for_each_advice(s, &json, [](void* target, std::string_view words) {
    static_cast<JsonWriter*>(target)->string({}, words);
  });
  json.close_array();
}

}  // namespace

void write_json(Text& text, const Occasion& occasion, const Snapshot& s, Layout layout) {
  JsonWriter json(text, layout);
  json.open_object();
  write_process(json, occasion, s);
  write_memory(json, s);
  write_classes(json, s);
  write_threads(json, s);
  write_budget(json, s);
  write_rest(json, s);
  write_bump(json, s);
  write_auto_routes(json, s.auto_routes);
  write_nodes(json, s.nodes);
  write_profile(json, s);
  write_timeline(json, s, layout);
  write_advice(json, s);
  json.close_object();
  text << '\n';
}

}  // namespace nebula::report
