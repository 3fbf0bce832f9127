#include "tool/top_view.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "config/budgets.hpp"
#include "tool/numbers.hpp"

namespace nebula::tool {
namespace {

using live::ClassRow;
using live::State;
using live::ThreadRow;
using Style = Line::Style;

constexpr std::uint64_t kNone = ~std::uint64_t{0};

std::uint64_t allocations_of(const State& state) {
  std::uint64_t sum = state.large_allocations + state.handler_allocations;
  for (const ClassRow& row : state.classes) sum += row.allocations;
  return sum;
}

std::uint64_t frees_of(const State& state) {
  std::uint64_t sum = state.large_frees + state.handler_frees;
  for (const ClassRow& row : state.classes) sum += row.frees;
  return sum;
}

double as_double(std::uint64_t value) { return static_cast<double>(value); }

// Changes in a second between two looks; none at the first.
class Rates {
 public:
  explicit Rates(const Watched& process) : before_(process.before ? &process.before->state : nullptr) {
    if (before_ != nullptr) seconds_ = as_double(process.now->read_at_nanoseconds - process.before->read_at_nanoseconds) / 1e9;
  }
  [[nodiscard]] bool are_known() const { return before_ != nullptr && seconds_ > 0; }
  [[nodiscard]] const State& before() const { return *before_; }
  [[nodiscard]] double per_second(std::uint64_t now, std::uint64_t before) const {
    return static_cast<double>(static_cast<std::int64_t>(now - before)) / seconds_;
  }
  [[nodiscard]] std::string in_short(std::uint64_t now, std::uint64_t before) const {
    return are_known() ? count_in_short(per_second(now, before)) : "-";
  }

 private:
  const State* before_;
  double seconds_ = 0;
};

std::string budget_share(const State& state) {
  if (state.hard_limit == kNone || state.hard_limit == 0) return "-";
  return fmt::format("{:.0f} %", 100 * as_double(state.committed_bytes) / as_double(state.hard_limit));
}

std::string bar(double share, unsigned width) {
  const auto full = static_cast<unsigned>(std::clamp(share, 0.0, 1.0) * width + 0.5);
  return '[' + std::string(full, '#') + std::string(width - full, '.') + ']';
}

std::string state_of(const Watched& process) { return process.facts ? state_in_words(process.facts->state) : "ended"; }

std::uint64_t age_of(const Reading& reading) {
  const std::uint64_t written = reading.state.written_at_nanoseconds;
  return reading.read_at_nanoseconds > written ? reading.read_at_nanoseconds - written : 0;
}

std::string title_of(const Watched& process) {
  const Reading& now = *process.now;
  return fmt::format("{}, pid {}, {}, up {}", now.header.program, process.shown.process, state_of(process),
                     duration(now.read_at_nanoseconds - now.header.started_at_nanoseconds));
}

// The classes with most live bytes first.
std::vector<unsigned> classes_in_use(const State& state) {
  std::vector<unsigned> order;
  for (unsigned i = 0; i < live::kClassRows; ++i)
    if (state.classes[i].allocations != 0 || state.classes[i].slabs != 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](unsigned a, unsigned b) {
    return state.classes[a].live * state.classes[a].slot_bytes > state.classes[b].live * state.classes[b].slot_bytes;
  });
  return order;
}

const ThreadRow* find_thread(const State& state, std::uint64_t thread) {
  for (std::uint64_t i = 0; i < state.thread_rows; ++i)
    if (state.threads[i].thread_id == thread) return &state.threads[i];
  return nullptr;
}

// "size 4,096 to 8,191", "thread worker (123), ended".
std::string name_of(const live::AccountRow& row) {
  switch (static_cast<config::AccountKind>(row.kind)) {
    case config::AccountKind::kTree: return fmt::format("tree of {} process{}", row.processes, row.processes == 1 ? "" : "es");
    case config::AccountKind::kNode: return fmt::format("node {}", row.number);
    case config::AccountKind::kThread: return fmt::format("thread {} ({}){}", row.name, row.number, row.has_ended != 0 ? ", ended" : "");
    case config::AccountKind::kSize: return fmt::format("size {} to {}", grouped(row.number), row.last_size == kNone ? "any" : grouped(row.last_size));
    case config::AccountKind::kModule: return fmt::format("module {}", row.name);
    default: return fmt::format("account {}", row.kind);
  }
}

// The fullest first.
void add_accounts(std::vector<Line>& lines, const State& state) {
  constexpr std::size_t kRows = 6;
  if (state.account_rows == 0) return;
  const auto share = [](const live::AccountRow& row) { return as_double(row.charged_bytes) / as_double(std::max<std::uint64_t>(row.hard_limit, 1)); };
  std::vector<const live::AccountRow*> rows;
  for (std::uint64_t i = 0; i < state.account_rows; ++i) rows.push_back(&state.accounts[i]);
  std::stable_sort(rows.begin(), rows.end(), [&share](const auto* a, const auto* b) { return share(*a) > share(*b); });
  lines.push_back({});
  lines.push_back({Style::kHeading, fmt::format("{:<36} {:<12} {:>11} {:>11} {:>7} {:>6} {:>7}", "account", "", "charged", "limit", "used", "hits", "refused")});
  for (std::size_t i = 0; i < rows.size() && i < kRows; ++i) {
    const live::AccountRow& row = *rows[i];
    lines.push_back({Style::kPlain, fmt::format("{:<36.36} {:<12} {:>11} {:>11} {:>5.0f} % {:>6} {:>7}", name_of(row), bar(share(row), 10),
                                                bytes_in_short(as_double(row.charged_bytes)), bytes_in_short(as_double(row.hard_limit)),
                                                100 * share(row), row.limit_hits, row.refusals)});
  }
  if (rows.size() > kRows) lines.push_back({Style::kPlain, fmt::format("{} more", rows.size() - kRows)});
}

void add_nodes(std::vector<Line>& lines, const State& state, const Rates& rates) {
  if (state.node_rows == 0) return;
  lines.push_back({});
  lines.push_back({Style::kHeading, fmt::format("{:<24} {:>11} {:>11} {:>11} {:>11} {:>11} {:>10}", "heap", "committed", "slots", "dirty", "returned/s",
                                                "fallbacks", "arrivals")});
  for (std::uint64_t i = 0; i < state.node_rows; ++i) {
    const live::NodeRow& row = state.nodes[i];
    const bool has_before = rates.are_known() && rates.before().node_rows == state.node_rows;
    lines.push_back({Style::kPlain, fmt::format("{:<24.24} {:>11} {:>11} {:>11} {:>11} {:>11} {:>10}", row.purpose, bytes_in_short(as_double(row.committed_bytes)),
                                                bytes_in_short(as_double(row.slot_bytes)), bytes_in_short(as_double(row.dirty_bytes)),
                                                has_before ? rates.in_short(row.returned, rates.before().nodes[i].returned) : "-", row.fallbacks, row.arrivals)});
  }
}

void add_exact_accounts_and_nodes(std::vector<Line>& lines, const State& state) {
  if (state.account_rows != 0)
    lines.push_back({Style::kHeading, fmt::format("{:<38}{:>20}{:>20}{:>20}{:>10}{:>10}", "accounts", "limit", "charged", "peak", "hits", "refused")});
  for (std::uint64_t i = 0; i < state.account_rows; ++i) {
    const live::AccountRow& row = state.accounts[i];
    lines.push_back({Style::kPlain, fmt::format("  {:<36}{:>20}{:>20}{:>20}{:>10}{:>10}", name_of(row), grouped(row.hard_limit), grouped(row.charged_bytes),
                                                grouped(row.peak_bytes), grouped(row.limit_hits), grouped(row.refusals))});
  }
  if (state.thread_accounts != 0)
    lines.push_back({Style::kPlain, fmt::format("  all {} accounts of threads: {} charged", grouped(state.thread_accounts), grouped(state.thread_accounts_charged))});
  if (state.node_rows != 0)
    lines.push_back({Style::kHeading, fmt::format("{:<26}{:>20}{:>20}{:>20}{:>14}{:>12}{:>10}", "node heaps", "committed", "slots", "dirty", "returned",
                                                  "fallbacks", "arrivals")});
  for (std::uint64_t i = 0; i < state.node_rows; ++i) {
    const live::NodeRow& row = state.nodes[i];
    lines.push_back({Style::kPlain, fmt::format("  {:<24}{:>20}{:>20}{:>20}{:>14}{:>12}{:>10}", row.purpose, grouped(row.committed_bytes), grouped(row.slot_bytes),
                                                grouped(row.dirty_bytes), grouped(row.returned), grouped(row.fallbacks), grouped(row.arrivals))});
  }
}

void add_budget(std::vector<Line>& lines, const State& state, unsigned width) {
  const std::string committed = bytes_in_short(as_double(state.committed_bytes));
  const std::string peak = bytes_in_short(as_double(state.committed_peak));
  if (state.hard_limit == kNone) {
    lines.push_back({Style::kPlain, fmt::format("committed  {}, peak {}, no budget", committed, peak)});
  } else {
    const double share = as_double(state.committed_bytes) / as_double(std::max<std::uint64_t>(state.hard_limit, 1));
    const unsigned room = width > 90 ? 40 : 20;
    lines.push_back({Style::kPlain, fmt::format("budget     {} {} of {} ({:.1f} %), peak {}", bar(share, room), committed,
                                                bytes_in_short(as_double(state.hard_limit)), 100 * share, peak)});
  }
  if (state.limit_hits + state.refusals != 0)
    lines.push_back({Style::kPlain, fmt::format("limit      hit {} times, {} reclaimed, {} requests refused, the largest {}",
                                                grouped(state.limit_hits), bytes_in_short(as_double(state.reclaimed_bytes)),
                                                grouped(state.refusals), bytes_in_short(as_double(state.largest_refused)))});
}

void add_classes(std::vector<Line>& lines, const State& state, const Rates& rates) {
  lines.push_back({Style::kHeading, fmt::format("{:>9} {:>9} {:>9} {:>10} {:>11} {:>8} {:>8} {:>6}", "size", "alloc/s", "free/s",
                                                "live", "live bytes", "pooled", "depots", "slabs")});
  const auto add = [&](const std::string& name, std::uint64_t allocations, std::uint64_t frees, std::uint64_t before_allocations,
                       std::uint64_t before_frees, std::uint64_t live, std::uint64_t bytes, const std::string& rest) {
    lines.push_back({Style::kPlain, fmt::format("{:>9} {:>9} {:>9} {:>10} {:>11} {}", name, rates.in_short(allocations, before_allocations),
                                                rates.in_short(frees, before_frees), count_in_short(as_double(live)),
                                                bytes_in_short(as_double(bytes)), rest)});
  };
  const State& before = rates.are_known() ? rates.before() : state;
  add("large", state.large_allocations, state.large_frees, before.large_allocations, before.large_frees,
      state.large_allocations - state.large_frees, state.large_live_bytes, "");
  if (state.bump_allocations != 0)
    add("in blocks", state.bump_allocations, state.bump_frees, before.bump_allocations, before.bump_frees,
        state.bump_allocations - state.bump_frees, state.bump_live_bytes, "");
  for (const unsigned i : classes_in_use(state)) {
    const ClassRow& row = state.classes[i];
    add(grouped(row.slot_bytes), row.allocations, row.frees, before.classes[i].allocations, before.classes[i].frees, row.live,
        row.live * row.slot_bytes, fmt::format("{:>8} {:>8} {:>6}", count_in_short(as_double(row.pooled)),
                                               count_in_short(as_double(row.in_depots)), row.slabs));
  }
}

// The threads that do most, since the last look or ever.
void add_threads(std::vector<Line>& lines, const Watched& process, const Rates& rates) {
  constexpr std::size_t kRows = 6;
  const State& state = process.now->state;
  struct Row {
    const ThreadRow* row;
    double rate;
    std::string allocations, frees;
  };
  std::vector<Row> rows;
  for (std::uint64_t i = 0; i < state.thread_rows; ++i) {
    const ThreadRow& row = state.threads[i];
    const ThreadRow* const before = rates.are_known() ? find_thread(rates.before(), row.thread_id) : nullptr;
    Row shown = {&row, as_double(row.allocations), "-", "-"};
    if (before != nullptr) {
      shown.rate = rates.per_second(row.allocations, before->allocations);
      shown.allocations = count_in_short(shown.rate);
      shown.frees = count_in_short(rates.per_second(row.frees, before->frees));
    }
    rows.push_back(shown);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.rate > b.rate; });
  lines.push_back({Style::kHeading, fmt::format("{:>9} {:>9} {:>9} {:>11}  {}", "thread", "alloc/s", "free/s", "pooled", "name")});
  for (std::size_t i = 0; i < rows.size() && i < kRows; ++i)
    lines.push_back({Style::kPlain, fmt::format("{:>9} {:>9} {:>9} {:>11}  {}", rows[i].row->thread_id, rows[i].allocations,
                                                rows[i].frees, bytes_in_short(as_double(rows[i].row->pooled_bytes)),
                                                thread_name(process.shown.process, rows[i].row->thread_id))});
  if (rows.size() > kRows || state.threads_left_out != 0)
    lines.push_back({Style::kPlain, fmt::format("{:>9} more", rows.size() - std::min(rows.size(), kRows) + state.threads_left_out)});
}

}  // namespace

std::vector<Line> list_view(const std::vector<Watched>& processes) {
  std::vector<Line> lines = {{Style::kHeading, fmt::format("{:>9} {:<16} {:<9} {:>9} {:>11} {:>11} {:>7} {:>9} {:>11}", "pid", "program",
                                                           "state", "up", "committed", "live", "budget", "alloc/s", "resident")}};
  for (const Watched& process : processes) {
    const Reading& now = *process.now;
    const Rates rates(process);
    const std::string rate =
        rates.are_known() ? rates.in_short(allocations_of(now.state), allocations_of(rates.before())) : std::string("-");
    lines.push_back({Style::kPlain,
                     fmt::format("{:>9} {:<16.16} {:<9} {:>9} {:>11} {:>11} {:>7} {:>9} {:>11}", process.shown.process, now.header.program,
                                 state_of(process), duration(now.read_at_nanoseconds - now.header.started_at_nanoseconds),
                                 bytes_in_short(as_double(now.state.committed_bytes)), bytes_in_short(as_double(now.state.live_bytes)),
                                 budget_share(now.state), rate,
                                 process.facts ? bytes_in_short(as_double(process.facts->resident_bytes)) : "-")});
  }
  return lines;
}

std::vector<Line> process_view(const Watched& process, unsigned width) {
  const State& state = process.now->state;
  const Rates rates(process);
  std::vector<Line> lines = {{Style::kTitle, title_of(process)}};
  lines.push_back({Style::kPlain, fmt::format("page       {} old{}, nebula {}", duration(age_of(*process.now)),
                                              state.is_at_rest != 0 ? "" : ", numbers of slightly different moments",
                                              process.now->header.library_version)});
  add_budget(lines, state, width);
  lines.push_back({Style::kPlain, fmt::format("memory     live {}, pooled {}, in depots {}, idle {}, metadata {}",
                                              bytes_in_short(as_double(state.live_bytes)), bytes_in_short(as_double(state.pooled_bytes)),
                                              bytes_in_short(as_double(state.depot_bytes)), bytes_in_short(as_double(state.idle_bytes)),
                                              bytes_in_short(as_double(state.metadata_bytes)))});
  if (process.facts)
    lines.push_back({Style::kPlain, fmt::format("process    resident {}, swapped {}, {} threads, {} that allocate",
                                                bytes_in_short(as_double(process.facts->resident_bytes)),
                                                bytes_in_short(as_double(process.facts->swapped_bytes)), process.facts->threads,
                                                state.threads_now)});
  if (rates.are_known()) {
    const State& before = rates.before();
    lines.push_back({Style::kPlain,
                     fmt::format("each second {} allocations, {} frees, {}{} live; {} refills, {} flushes, {} waits for a lock",
                                 rates.in_short(allocations_of(state), allocations_of(before)), rates.in_short(frees_of(state), frees_of(before)),
                                 state.live_bytes >= before.live_bytes ? "+" : "", bytes_in_short(rates.per_second(state.live_bytes, before.live_bytes)),
                                 rates.in_short(state.refills, before.refills), rates.in_short(state.flushes, before.flushes),
                                 rates.in_short(state.lock_waits, before.lock_waits))});
  }
  if (state.double_frees + state.invalid_frees != 0)
    lines.push_back({Style::kPlain, fmt::format("misuse     {} double frees, {} invalid frees", state.double_frees, state.invalid_frees)});
  add_accounts(lines, state);
  add_nodes(lines, state, rates);
  lines.push_back({});
  add_threads(lines, process, rates);
  lines.push_back({});
  add_classes(lines, state, rates);
  return lines;
}

std::vector<Line> exact_view(const Watched& process) {
  const State& state = process.now->state;
  std::vector<Line> lines = {{Style::kTitle, title_of(process)}};
  const auto add = [&](const std::string& name, std::uint64_t value) {
    lines.push_back({Style::kPlain, fmt::format("  {:<24}{:>22}", name, grouped(value))});
  };
  lines.push_back({Style::kPlain, fmt::format("page {} old, {}", duration(age_of(*process.now)),
                                              state.is_at_rest != 0 ? "of one moment" : "numbers of slightly different moments")});
  lines.push_back({Style::kHeading, "memory, bytes"});
  add("live", state.live_bytes);
  add("in pools", state.pooled_bytes);
  add("in depots", state.depot_bytes);
  add("idle", state.idle_bytes);
  add("metadata", state.metadata_bytes);
  add("= committed", state.committed_bytes);
  add("mapped", state.mapped_bytes);
  add("peak committed", state.committed_peak);
  add("peak in use", state.in_use_peak);
  if (state.hard_limit != kNone) add("budget", state.hard_limit);
  if (state.soft_limit != kNone) add("soft budget", state.soft_limit);
  if (process.facts) add("resident", process.facts->resident_bytes);
  lines.push_back({Style::kHeading, fmt::format("{:<14}{:>16}{:>16}{:>14}{:>18}{:>12}{:>12}{:>8}", "objects", "allocations", "frees",
                                                "live", "live bytes", "pooled", "in depots", "slabs")});
  ClassRow sum = {};
  std::uint64_t small_bytes = 0;
  for (const ClassRow& row : state.classes) {
    small_bytes += row.live * row.slot_bytes;
    sum.allocations += row.allocations;
    sum.frees += row.frees;
    sum.live += row.live;
    sum.pooled += row.pooled;
    sum.in_depots += row.in_depots;
    sum.slabs += row.slabs;
  }
  const auto add_row = [&](const std::string& name, const ClassRow& row, std::uint64_t bytes) {
    lines.push_back({Style::kPlain, fmt::format("  {:<12}{:>16}{:>16}{:>14}{:>18}{:>12}{:>12}{:>8}", name, grouped(row.allocations),
                                                grouped(row.frees), grouped(row.live), grouped(bytes), grouped(row.pooled),
                                                grouped(row.in_depots), row.slabs)});
  };
  std::vector<unsigned> order = classes_in_use(state);
  std::sort(order.begin(), order.end());
  for (const unsigned i : order)
    add_row("size " + grouped(state.classes[i].slot_bytes), state.classes[i], state.classes[i].live * state.classes[i].slot_bytes);
  const ClassRow large = {0, state.large_allocations, state.large_frees, state.large_allocations - state.large_frees, 0, 0, 0};
  const ClassRow blocks = {0, state.bump_allocations, state.bump_frees, state.bump_allocations - state.bump_frees, 0, 0, 0};
  const ClassRow handlers = {0, state.handler_allocations, state.handler_frees, state.handler_allocations - state.handler_frees, 0, 0, 0};
  add_row("all small", sum, small_bytes);
  add_row("large", large, state.large_live_bytes);
  if (state.bump_allocations != 0) add_row("in blocks", blocks, state.bump_live_bytes);
  if (state.handler_allocations != 0) add_row("in handlers", handlers, state.handler_live_bytes);
  for (const ClassRow& other : {large, blocks, handlers}) {
    sum.allocations += other.allocations;
    sum.frees += other.frees;
    sum.live += other.live;
  }
  add_row("total", sum, state.live_bytes);
  lines.push_back({Style::kHeading, fmt::format("{:<14}{:>16}{:>16}{:>14}  {}", "threads", "allocations", "frees", "pooled bytes", "name")});
  for (std::uint64_t i = 0; i < state.thread_rows; ++i) {
    const ThreadRow& row = state.threads[i];
    lines.push_back({Style::kPlain, fmt::format("  {:<12}{:>16}{:>16}{:>14}  {}", row.thread_id, grouped(row.allocations),
                                                grouped(row.frees), grouped(row.pooled_bytes), thread_name(process.shown.process, row.thread_id))});
  }
  if (state.threads_left_out != 0) lines.push_back({Style::kPlain, fmt::format("  {} more", state.threads_left_out)});
  add_exact_accounts_and_nodes(lines, state);
  return lines;
}

}  // namespace nebula::tool
