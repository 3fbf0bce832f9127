#include "report/log.hpp"

#include <atomic>
#include <iterator>

#include "budget/account.hpp"
#include "budget/thread_limits.hpp"
#include "budget/tree.hpp"
#include "diag/message.hpp"
#include "heap/heap.hpp"
#include "heap/reclaim.hpp"
#include "node_heap/node_heap.hpp"
#include "node_heap/placement.hpp"
#include "os/memory.hpp"
#include "pages/locking.hpp"
#include "spans/reserve.hpp"
#include "stats/snapshot.hpp"

namespace nebula::report {
namespace {

using Line = TextOf<512>;

// A number that rises, as it was when it was told last. relaxed: of two threads that tell at a time, each tells a part.
class Told {
 public:
  std::uint64_t more(std::uint64_t now) {
    const std::uint64_t before = value_.exchange(now, std::memory_order_relaxed);
    return at_least_zero(now, before);
  }

 private:
  std::atomic<std::uint64_t> value_{0};
};

constinit Told mapped_told;
constinit Told advised_told;
constinit Told runs_told[static_cast<unsigned>(heap::Step::kEnd)];

void say_nodes() {
  const placement::Facts& facts = placement::facts();
  Line line;
  line << "memory comes from ";
  if (facts.nodes.is_empty()) line << "whatever node the system says";
  else (line << (facts.nodes.count() == 1 ? "node " : "nodes ")).nodes(facts.nodes);
  line << ", for " << std::uint64_t{NodeHeap::places()} << (NodeHeap::places() == 1 ? " heap" : " heaps");
  if (facts.state == placement::State::kInForce) {
    line << ", small objects by ";
    placement::write_rule(line, facts.rules.small_objects);
    line << ", large ones by ";
    placement::write_rule(line, facts.rules.large_objects);
  }
  say(Level::kInfo, line.view());
}

void say_limit(Text& line, std::string_view name, std::uint64_t limit) {
  if (limit != kNoLimit && limit != 0) line << ", " << name << ' ' << limit << " bytes";
}

void say_budget() {
  Line line;
  line << "committed at the start are " << process_account.committed() << " bytes";
  say_limit(line, "hard limit", process_account.hard_limit());
  say_limit(line, "soft limit", process_account.soft_limit());
  say_limit(line, "the tree's limit", tree::facts().limit);
  if (process_account.hard_limit() == kNoLimit) line << ", no limit on the process";
  say(Level::kInfo, line.view());
}

void say_pages() {
  Line line;
  line << "pages: the system's huge pages are " << os::huge_page_mode();
  if (const reserve::Facts& facts = reserve::facts(); facts.asked_bytes != 0)
    line << "; reserved " << facts.obtained_bytes << " of " << facts.asked_bytes << " bytes, " << facts.touched_bytes << " of them touched";
  if (page_policy.locks) {
    const locking::Facts facts = locking::facts();
    line << "; locked " << facts.obtained_bytes << " of " << facts.asked_bytes << " bytes";
  }
  if (page_policy.uses_huge_tlb) {
    const SpanHeap::HugeTlb facts = node_heap.spans().facts().huge_tlb;
    line << "; of the pool " << facts.regions * kRegionSize << " of " << facts.asked_regions * kRegionSize << " bytes";
  }
  say(Level::kInfo, line.view());
}

void tell_beginnings() {
  for (unsigned i = 1; i <= thread_limits::count(); ++i) {
    const auto id = static_cast<thread_limits::Id>(i);
    if (!thread_limits::take_beginning(id)) continue;
    const thread_limits::Owner& owner = thread_limits::owner_of(id);
    Line line;
    line << "thread " << owner.name << " (";
    line.plain(static_cast<std::uint64_t>(owner.thread_id)) << ") has an account with a limit of "
                                                            << thread_limits::account(id).hard_limit() << " bytes";
    say(Level::kInfo, line.view());
  }
}

void tell_growth() {
  const std::uint64_t mapped = heap_map.mapped_units.load(std::memory_order_relaxed) * kUnitSize;
  const std::uint64_t more = mapped_told.more(mapped);
  if (more == 0) return;
  Line line;
  line << "growth: " << more << " bytes of addresses, " << mapped << " now";
  say(Level::kDebug, line.view());
}

void tell_advice() {
  const std::uint64_t more = advised_told.more(pages::purge_counts().advised_bytes);
  if (more == 0) return;
  Line line;
  line << "purge: the system was advised of " << more << " idle bytes (" << config::purge_kind_of(page_policy.idle_pages) << ')';
  say(Level::kDebug, line.view());
}

void tell_reclaim() {
  Line line;
  for (unsigned i = 0; i < std::size(runs_told); ++i) {
    const auto step = static_cast<heap::Step>(i);
    const heap::StepFacts facts = heap::step_facts(step);
    const std::uint64_t more = runs_told[i].more(facts.runs);
    if (more == 0) continue;
    line << (line.length() == 0 ? "reclaim: " : "; ") << stats::name_of(step) << ' ' << more << " times more, " << facts.bytes
         << " bytes in all";
  }
  if (line.length() != 0) say(Level::kDebug, line.view());
}

void on_purge(heap::PurgeReason reason, std::uint64_t bytes) {
  Line line;
  line << "purge: " << bytes << " bytes given back (" << heap::name_of(reason) << ')';
  say(Level::kDebug, line.view());
}

void on_news() {
  tell_beginnings();
  if (!tells(Level::kDebug)) return;
  tell_growth();
  tell_advice();
  tell_reclaim();
}

}  // namespace

void begin_log() {
  if (!tells(Level::kInfo)) return;
  os::read_huge_page_mode();
  say_nodes();
  say_budget();
  say_pages();
  heap::set_news_listener(on_news);
  if (tells(Level::kDebug)) heap::add_purge_listener(on_purge);
  on_news();
}

}  // namespace nebula::report
