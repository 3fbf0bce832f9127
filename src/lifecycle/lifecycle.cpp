#include "lifecycle/lifecycle.hpp"

#include <pthread.h>
#include <stdlib.h>

#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "budget/module_limits.hpp"
#include "budget/node_limits.hpp"
#include "budget/process_limits.hpp"
#include "budget/thread_limits.hpp"
#include "budget/tree.hpp"
#include "budget/usage.hpp"
#include "config/config.hpp"
#include "diag/message.hpp"
#include "diag/misuse.hpp"
#include "heap/heap.hpp"
#include "heap/reclaim.hpp"
#include "live/live.hpp"
#include "machine/memory_limit.hpp"
#include "node_heap/placement.hpp"
#include "node_heap/tenants.hpp"
#include "os/process.hpp"
#include "report/budget_events.hpp"
#include "report/crash.hpp"
#include "report/leaks.hpp"
#include "report/log.hpp"
#include "report/monitor.hpp"
#include "report/profile.hpp"
#include "report/report.hpp"
#include "report/reporter.hpp"
#include "report/totals.hpp"
#include "spans/reserve.hpp"
#include "stats/snapshot.hpp"

#ifndef NEBULA_VERSION
#define NEBULA_VERSION "unknown"
#endif

namespace nebula::lifecycle {
namespace {

constexpr int kExitConfiguration = 78;  // EX_CONFIG of sysexits.h

NEBULA_START_DATA constinit config::Config configuration;

// Of a limit that cannot hold: mostly the process ends for it.
void say_unmet(std::string_view line) { say(configuration.abort_on_bad_limit ? Level::kError : Level::kWarning, line); }

[[noreturn]] void refuse_to_start() { os::exit_immediately(kExitConfiguration); }

// What a limit comes to now; kNoLimit for none. 0 when the share leaves nothing.
std::uint64_t bytes_of(const config::Limit& limit, const machine::MemoryLimit& allowed) {
  if (limit.percent == 0) return limit.bytes;
  if (allowed.bytes == machine::kUnlimited) return kNoLimit;
  const std::uint64_t share = allowed.bytes / 100 * limit.percent + allowed.bytes % 100 * limit.percent / 100;
  return share > limit.bytes ? share - limit.bytes : 0;
}

bool any_share() {
  return configuration.budget.percent != 0 || configuration.budget_soft.percent != 0 || configuration.budget_tree.percent != 0;
}

// Shares of a limit that has been changed meanwhile. What would leave nothing is left as it was.
void read_limits_again() {
  const machine::MemoryLimit allowed = machine::memory_limit();
  const std::uint64_t hard = bytes_of(configuration.budget, allowed);
  const std::uint64_t soft = bytes_of(configuration.budget_soft, allowed);
  process_limits::set_by_environment(hard != 0 ? hard : process_account.hard_limit(), soft != 0 ? soft : process_account.soft_limit());
}

// False when the limit leaves nothing.
bool check(const char* name, std::uint64_t bytes, const machine::MemoryLimit& allowed) {
  if (bytes != 0) return true;
  TextOf<256> line;
  line << name << " leaves nothing of the " << allowed.bytes << " bytes that "
       << (allowed.by_control_group ? "the control group allows" : "the machine has");
  say_unmet(line.view());
  return false;
}

// The tree's account, and its name for the programs that this one starts.
bool join_tree(std::uint64_t limit) {
  const tree::Joined joined = tree::join(limit, configuration.tree);
  if (joined == tree::Joined::kImpossible) {
    say_unmet("NEBULA_BUDGET_TREE: neither /dev/shm nor /tmp takes the file that the processes of a tree share");
    return false;
  }
  if (joined == tree::Joined::kMember && tree::facts().limit != limit) {
    TextOf<256> line;
    line << "NEBULA_BUDGET_TREE: this process belongs to a tree with a limit of " << tree::facts().limit
         << " bytes, which holds, not " << limit;
    say(line.view());
  }
  setenv("NEBULA_TREE", tree::path().data(), 1);
  return true;
}

// The program first: the other may end the process.
void on_budget_event(const heap::BudgetEvent& event) {
  monitor::on_budget_event(event);
  report::on_budget_event(event);
}

void set_limits() {
  const machine::MemoryLimit allowed = any_share() ? machine::memory_limit() : machine::MemoryLimit{};
  const std::uint64_t hard = bytes_of(configuration.budget, allowed);
  const std::uint64_t soft = bytes_of(configuration.budget_soft, allowed);
  const std::uint64_t of_tree = bytes_of(configuration.budget_tree, allowed);
  bool good = check("NEBULA_BUDGET", hard, allowed);
  good = check("NEBULA_BUDGET_SOFT", soft, allowed) && good;
  good = check("NEBULA_BUDGET_TREE", of_tree, allowed) && good;
  if (any_share() && allowed.bytes == machine::kUnlimited) {
    say_unmet("a budget is a share of the memory there is, which neither /proc nor a control group says");
    good = false;
  }
  if (soft > hard && soft != kNoLimit) say("NEBULA_BUDGET_SOFT is above NEBULA_BUDGET and will never act");
  const auto at_limit = [](config::AccountKind kind) { return configuration.at_limit[static_cast<std::size_t>(kind)]; };
  process_account.set_at_limit(at_limit(config::AccountKind::kProcess));
  tree_account.set_at_limit(at_limit(config::AccountKind::kTree));
  process_account.set_reserve(configuration.reserve_bytes);
  process_account.set_limits(hard != 0 ? hard : kNoLimit, soft != 0 ? soft : kNoLimit);
  if (const std::size_t count = configuration.size_limit_count; count != 0)
    heap::set_size_limits({configuration.size_limits, count}, at_limit(config::AccountKind::kSize));
  if (const std::size_t count = configuration.node_limit_count; count != 0)
    node_limits::set({configuration.node_limits, count}, at_limit(config::AccountKind::kNode));
  if (const std::size_t count = configuration.thread_limit_count; count != 0)
    thread_limits::set({configuration.thread_limits, count}, at_limit(config::AccountKind::kThread));
  if (!module_limits::set({configuration.module_limits, configuration.module_limit_count}, at_limit(config::AccountKind::kModule))) {
    say_unmet("NEBULA_BUDGET_MODULE needs glibc 2.35 or later, which tells where code belongs");
    good = false;
  }
  if (configuration.budget_tree.is_set() && of_tree != 0) good = join_tree(of_tree) && good;
  if (!good && configuration.abort_on_bad_limit) refuse_to_start();
  if (configuration.budget.percent != 0 || configuration.budget_soft.percent != 0) heap::set_limit_reader(read_limits_again);
  heap::set_reclaim_share(configuration.reclaim_percent);
  heap::set_pressure_source(configuration.pressure);
  report::set_budget_wishes({configuration.budget_signal, configuration.budget_events, configuration.stats_on_budget});
  heap::set_budget_listener(on_budget_event);
}

bool may_die_of_memory() {
  for (const config::AtLimit& at_limit : configuration.at_limit)
    if (at_limit.action == config::BudgetAction::kAbort || at_limit.action == config::BudgetAction::kKill) return true;
  return false;
}

// All gates and tenants' lock, so that the child finds all structures whole and no other lock of the heap held. A signal handler that forks while its own
// thread is in a slow path cannot wait for locks that the thread itself may hold: it takes none, and the child opens
// those whose holders are gone.
void before_fork() NEBULA_UNCHECKED {
  if (in_slow_path || !heap::start()) return;
  const SlowPath slow;
  thread_heap::lock_all();
  tenants::lock().lock();
  holds_every_lock = true;
}

void release_after_fork() NEBULA_UNCHECKED {
  const SlowPath slow;
  holds_every_lock = false;
  tenants::lock().unlock();
  thread_heap::unlock_all();
}

void in_parent() {
  if (holds_every_lock) release_after_fork();
}

void in_child() {
  stats::note_fork();
  config::begin_log_in_child();
  report::note_fork();
  report::reset_totals_in_child();
  monitor::reset_in_child();
  tree::note_fork();
  report::note_fork_of_profile();
  report::note_fork_of_leaks();
  heap::reset_in_child();
  thread_heap::note_fork();
  if (holds_every_lock) {
    release_after_fork();
    const SlowPath slow;
    thread_heap::adopt_after_fork();
  } else {
    Lock::expect_gates(false);
    pages::reset_in_child();
    bytes_in_use.reset_in_child();
    thread_heap::reset_in_child();
    NodeHeap::reset_in_child();
  }
  live::begin_in_child();
  if (!in_slow_path) report::restart_reporter_in_child();
}

void print_banner() {
  TextOf<1024> line;
  line << NEBULA_VERSION " serves " << os::program_name() << ", pid ";
  line.plain(static_cast<std::uint64_t>(os::process_id())) << ':';
  config::append_written(line);
  if (*live::path() != '\0') line << "; page " << live::path();
  say(configuration.banner ? Level::kWarning : Level::kInfo, line.view());
}

// Which memory is kept apart, and for whom.
void begin_places() {
  placement::start(configuration.numa);
  bool good = placement::begin_node_limits();
  if (!heap::begin_tenants()) {
    say_unmet("there is no memory to keep apart what threads and modules with limits allocate");
    good = false;
  }
  if (!good && configuration.abort_on_bad_limit) refuse_to_start();
}

void begin_reserve() {
  const config::PagePolicy& wanted = configuration.pages;
  if (wanted.reserve_bytes == 0 || heap::begin_reserve(wanted.reserve_bytes)) return;
  const reserve::Facts& facts = reserve::facts();
  const bool is_refused = wanted.is_reserve_strict && configuration.abort_on_bad_limit;
  TextOf<512> line;
  line << "NEBULA_RESERVE: of " << wanted.reserve_bytes << " bytes " << facts.obtained_bytes << " could be had within the budget and "
       << "what the system gives, " << facts.touched_bytes << " of them resident; "
       << (is_refused ? "not running with less (without :strict it would)" : "running with these");
  say(is_refused ? Level::kError : Level::kWarning, line.view());
  if (is_refused) refuse_to_start();
}

void begin_profile() {
  constexpr std::uint64_t kPeriodForLeaks = 512 * kKiB;  // they come with their call sites, profile or not
  const bool is_wanted = configuration.profile_period != 0;
  if (configuration.leaks) report::expect_leaks();
  if (!is_wanted && !configuration.leaks) return;
  if (!heap::begin_profile(is_wanted ? configuration.profile_period : kPeriodForLeaks))
    return say("there is no memory for a profile; running without");
  if (is_wanted) report::expect_profile({configuration.profile_file, configuration.profile_pprof, configuration.profile_collapsed});
}

}  // namespace

void start(const char* const* environment) {
  remember_standard_error();
  stats::begin();
  if (!os::is_secure_execution()) {
    const config::Outcome outcome = config::read(environment, configuration);
    if (configuration.help) config::print_help();
    if (outcome == config::Outcome::kBadLimit && configuration.abort_on_bad_limit)
      refuse_to_start();
  }
  misuse::set_action(configuration.on_misuse == config::MisuseAction::kWarn ? misuse::Action::kWarn
                                                                            : misuse::Action::kAbort);
  set_limits();
  const bool may_abort = may_die_of_memory();
  report::Wishes wishes;
  wishes.forms = configuration.stats;
  wishes.file = configuration.stats_file;
  wishes.interval_milliseconds = configuration.stats_interval_milliseconds;
  wishes.rotate_at = configuration.stats_rotate;
  const bool in_between = configuration.stats_signal != 0 || configuration.stats_on_crash || configuration.stats_on_budget ||
                          configuration.stats_before != 0;
  const bool as_text = (configuration.stats & config::Form::kText) != 0 || (configuration.stats == 0 && in_between);
  if ((as_text && configuration.stats_file.empty()) || configuration.leaks) keep_standard_error();
  if (configuration.stats != 0 || wishes.interval_milliseconds != 0 || in_between || may_abort) report::expect(wishes);
  if (configuration.stats_on_crash) report::report_on_crash();
  heap::set_page_policy(configuration.pages);
  if (heap::start()) begin_places();
  begin_reserve();
  heap::set_routes(configuration.routes, configuration.bump_limit);
  heap::watch_thread_exits();
  begin_profile();
  pthread_atfork(before_fork, in_parent, in_child);
  Lock::expect_gates(true);
  report::start_reporter({configuration.stats_signal, configuration.stats_interval_milliseconds});
  if (configuration.live) live::begin(environment);
  if (configuration.banner || tells(Level::kInfo)) print_banner();
  report::begin_log();
  if (configuration.stats != 0 || configuration.live || configuration.profile_period != 0 || configuration.leaks) at_quick_exit(at_exit);
}

// Not in a child of vfork, which lives in its parent's memory.
void before_underscore_exit() {
  if ((configuration.stats_before & config::End::kUnderscoreExit) == 0 || stats::process_id() != os::process_id()) return;
  report::write_at_end(report::Reason::kUnderscoreExit);
  {
    const SlowPath slow;
    if (!slow.entered()) return;  // a handler that interrupted the allocator: pools cannot be emptied, nor objects be told from slots
  }
  report::write_leaks_at_exit();
  report::write_profile_at_exit();
}

void before_execve() {
  if ((configuration.stats_before & config::End::kExecve) != 0 && stats::process_id() == os::process_id())
    report::write_now(report::Reason::kExecve, stats::Caller::kOutsideSlowPath);
}

void at_exit() {
  tree::find_dead();
  report::check_signal();
  report::write_at_exit();
  report::write_leaks_at_exit();
  report::write_profile_at_exit();
  tree::leave();
  live::end();
}

}  // namespace nebula::lifecycle
