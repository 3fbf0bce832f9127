#include "report/budget_events.hpp"

#include <atomic>

#include "base/start_data.hpp"
#include "budget/module_limits.hpp"
#include "budget/node_limits.hpp"
#include "budget/size_limits.hpp"
#include "budget/thread_limits.hpp"
#include "budget/tree.hpp"
#include "config/config.hpp"
#include "diag/message.hpp"
#include "os/process.hpp"
#include "os/shared_file.hpp"
#include "report/holders.hpp"
#include "report/report.hpp"

namespace nebula::report {
namespace {

using What = heap::BudgetEvent::What;

NEBULA_START_DATA constinit BudgetWishes wishes;

// The variable that the limit comes from, and what it counts.
void append_account(Text& text, const Account& account) {
  switch (account.kind()) {
    case config::AccountKind::kTree: text << "NEBULA_BUDGET_TREE"; return;
    case config::AccountKind::kSize: {
      const config::SizeLimit& range = size_limits::range_of(account);
      text << "NEBULA_BUDGET_SIZE ";
      text.plain(range.first) << '-';
      if (range.last != ~std::uint64_t{0}) text.plain(range.last);
      return;
    }
    case config::AccountKind::kNode: (text << "NEBULA_BUDGET_NODE ").plain(node_limits::node_of(account)); return;
    case config::AccountKind::kThread: {
      const thread_limits::Owner& owner = thread_limits::owner_of(thread_limits::id_of(account));
      (text << "NEBULA_BUDGET_THREAD " << owner.name << " (").plain(static_cast<std::uint64_t>(owner.thread_id)) << ')';
      return;
    }
    case config::AccountKind::kModule: text << "NEBULA_BUDGET_MODULE " << module_limits::name_of(account); return;
    default: text << "NEBULA_BUDGET"; return;
  }
}

std::uint64_t charged_to(const Account& account) {
  return account.kind() == config::AccountKind::kTree ? tree::total() : account.committed();
}

void say_refused(const heap::BudgetEvent& event) {
  TextOf<2048> text;
  append_account(text, event.account);
  text << " leaves no room for " << std::uint64_t{event.requested_bytes} << " bytes: " << charged_to(event.account) << " of "
       << event.account.hard_limit() << " are taken, and nothing is left to reclaim\n";
  describe_holders(text);
  say(text.view());
}

// What is said in any case is said elsewhere.
void inform(const heap::BudgetEvent& event) {
  TextOf<256> line;
  switch (event.what) {
    case What::kSoftLimit:
    case What::kFirstRefusal: return;
    case What::kSystemRefusal:
      line << "the system refuses memory for a request of " << std::uint64_t{event.requested_bytes} << " bytes";
      break;
    case What::kHardLimit:
      append_account(line, event.account);
      line << " is reached: " << charged_to(event.account) << " of " << event.account.hard_limit() << " bytes are charged";
      break;
    case What::kRefusal:
      append_account(line, event.account);
      line << " refuses a request of " << std::uint64_t{event.requested_bytes} << " bytes: " << charged_to(event.account) << " of "
           << event.account.hard_limit() << " are charged";
  }
  say(Level::kInfo, line.view());
}

const char* name_of(What what) {
  switch (what) {
    case What::kSoftLimit: return "soft limit";
    case What::kHardLimit: return "hard limit";
    default: return "refusal";
  }
}

// One line of JSON, written at once, so that lines of several threads do not mix.
void append_event(const heap::BudgetEvent& event) {
  TextOf<1400> path;
  config::expand_path(wishes.event_file, {os::process_id(), os::program_name(), 0, os::unix_milliseconds() / 1000}, path);
  path << '\0';
  const int file = path.is_full() ? -1 : os::open_to_append(path.view().data());
  if (file < 0) {
    static constinit std::atomic<bool> said{false};  // relaxed: once is enough, twice no harm
    if (said.exchange(true, std::memory_order_relaxed)) return;
    TextOf<1400> line;
    line << "events cannot be written to NEBULA_BUDGET_EVENTS=" << wishes.event_file;
    say(line.view());
    return;
  }
  TextOf<1024> line;
  line << "{\"unix_milliseconds\":";
  line.plain(os::unix_milliseconds()) << ",\"process_id\":";
  line.plain(static_cast<std::uint64_t>(os::process_id())) << ",\"account\":\"" << config::name_of(event.account.kind());
  line << "\",\"event\":\"" << name_of(event.what) << "\",\"charged_bytes\":";
  line.plain(charged_to(event.account)) << ",\"limit_bytes\":";
  line.plain(event.what == What::kSoftLimit ? event.account.soft_limit() : event.account.hard_limit());
  if (event.requested_bytes != 0) (line << ",\"requested_bytes\":").plain(event.requested_bytes);
  line << ",\"largest\":[";
  SizeHolder sizes[5];
  const unsigned count = largest_sizes(sizes);
  for (unsigned i = 0; i < count; ++i) {
    line << (i == 0 ? "{" : ",{");
    if (sizes[i].slot_size == 0) line << "\"size\":\"large\"";
    else (line << "\"size\":").plain(sizes[i].slot_size);
    (line << ",\"objects\":").plain(sizes[i].objects);
    (line << ",\"bytes\":").plain(sizes[i].bytes) << '}';
  }
  line << "]}\n";
  os::write_all(file, line.view());
  os::close_file(file);
}

void die(const heap::BudgetEvent& event) {
  TextOf<2048> words;
  append_account(words, event.account);
  words << " is exhausted: " << std::uint64_t{event.requested_bytes} << " bytes were asked for, " << charged_to(event.account)
       << " of " << event.account.hard_limit() << " are committed; "
       << (event.account.at_limit().action == config::BudgetAction::kKill ? "killing" : "aborting") << '\n';
  describe_holders(words);
  write_before_abort(start_of(words.view(), words.length() - 1));  // the last newline is the speaker's
  if (event.account.at_limit().action == config::BudgetAction::kKill) os::kill_self();
  fatal::abort_process();
}

void say_over_limit(const heap::BudgetEvent& event) {
  static constinit std::atomic<std::uint8_t> said{0};  // a bit for each kind; relaxed: once is enough
  const auto bit = static_cast<std::uint8_t>(1u << static_cast<unsigned>(event.account.kind()));
  if ((said.fetch_or(bit, std::memory_order_relaxed) & bit) != 0) return;
  TextOf<256> line;
  append_account(line, event.account);
  line << " is exceeded: " << charged_to(event.account) << " bytes, the limit is " << event.account.hard_limit()
       << "; NEBULA_BUDGET_ACTION says to go on";
  say(line.view());
}

// Of each kind of account and event once: a program at its limit comes here again and again.
void report_first(const heap::BudgetEvent& event) {
  static constinit std::atomic<std::uint64_t> done{0};  // relaxed: once is enough
  if (event.what == What::kRefusal) return;
  const auto place = static_cast<unsigned>(event.account.kind()) * 4 + static_cast<unsigned>(event.what);
  const std::uint64_t bit = std::uint64_t{1} << place;
  if ((done.fetch_or(bit, std::memory_order_relaxed) & bit) == 0) write_now(Reason::kBudget, stats::Caller::kOutsideSlowPath);
}

void say_over_soft_limit() {
  static constinit std::atomic<bool> said{false};  // relaxed: once is enough
  const Level level = said.exchange(true, std::memory_order_relaxed) ? Level::kInfo : Level::kWarning;
  TextOf<128> line;
  line << "committed memory is above NEBULA_BUDGET_SOFT, " << process_account.soft_limit() << " bytes; reclaiming";
  say(level, line.view());
}

}  // namespace

void set_budget_wishes(const BudgetWishes& wanted) { wishes = wanted; }

void on_budget_event(const heap::BudgetEvent& event) {
  if (tells(Level::kInfo)) inform(event);
  if (event.what == What::kSystemRefusal) return;  // no budget's
  const bool is_refusal = event.what == What::kFirstRefusal || event.what == What::kRefusal;
  const config::BudgetAction action = event.account.at_limit().action;
  const bool dies = action == config::BudgetAction::kAbort || action == config::BudgetAction::kKill;
  if (event.what == What::kSoftLimit) say_over_soft_limit();
  if (event.what == What::kHardLimit && action == config::BudgetAction::kWarn) say_over_limit(event);
  if (event.what == What::kFirstRefusal && !dies) say_refused(event);
  if (event.what != What::kRefusal && !wishes.event_file.empty()) append_event(event);
  if (!is_refusal && wishes.signal != 0) os::signal_self_if_handled(wishes.signal);
  if (wishes.report && !(is_refusal && dies)) report_first(event);
  if (is_refusal && dies) die(event);
}

}  // namespace nebula::report
