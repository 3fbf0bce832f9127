#include "lifecycle/lifecycle.hpp"

#include <pthread.h>
#include <stdlib.h>

#include "budget/account.hpp"
#include "config/config.hpp"
#include "diag/message.hpp"
#include "diag/misuse.hpp"
#include "heap/heap.hpp"
#include "os/process.hpp"
#include "report/report.hpp"
#include "stats/snapshot.hpp"

namespace nebula::lifecycle {
namespace {

constexpr int kExitConfiguration = 78;  // EX_CONFIG of sysexits.h

constinit config::Config configuration;

void die_of_memory(std::size_t requested_bytes) {
  TextOf<256> line;
  line << "NEBULA_BUDGET is exhausted: " << std::uint64_t{requested_bytes} << " bytes were asked for, "
       << process_account.committed() << " of " << process_account.hard_limit() << " are committed; aborting";
  report::write_before_abort(line.view());
  fatal::abort_process();
}

// Every lock, in rank order, so that the child finds all structures whole. A signal handler that forks while its own
// thread is in a slow path cannot wait for locks that the thread itself may hold: it takes none, and the child opens
// those whose holders are gone.
void before_fork() {
  if (in_slow_path || !heap::start()) return;
  const SlowPath slow;
  thread_heap::lock_all();
  node_heap.lock_all();
  holds_every_lock = true;
}

void release_after_fork() {
  const SlowPath slow;
  holds_every_lock = false;
  node_heap.unlock_all();
  thread_heap::unlock_all();
}

void in_parent() {
  if (holds_every_lock) release_after_fork();
}

void in_child() {
  stats::note_fork();
  report::note_fork();
  heap::reset_in_child();
  if (holds_every_lock) {
    release_after_fork();
    const SlowPath slow;
    thread_heap::adopt_after_fork();
  } else {
    pages::reset_in_child();
    thread_heap::reset_in_child();
    node_heap.reset_in_child();
  }
}

}  // namespace

void start(const char* const* environment) {
  remember_standard_error();
  stats::begin();
  if (!os::is_secure_execution()) {
    const config::Outcome outcome = config::read(environment, configuration);
    if (configuration.help) config::print_help();
    if (outcome == config::Outcome::kBadLimit && configuration.abort_on_bad_limit)
      os::exit_immediately(kExitConfiguration);
  }
  misuse::set_action(configuration.on_misuse == config::MisuseAction::kWarn ? misuse::Action::kWarn
                                                                            : misuse::Action::kAbort);
  process_account.set_limits(configuration.budget, configuration.budget_soft);
  const bool may_abort = configuration.budget_action == config::BudgetAction::kAbort;
  if (may_abort) heap::set_refusal_handler(die_of_memory);
  if (configuration.stats && configuration.stats_file.empty()) keep_standard_error();
  if (configuration.stats || may_abort) report::expect_report({configuration.stats, configuration.stats_file});
  heap::start();
  heap::watch_thread_exits();
  pthread_atfork(before_fork, in_parent, in_child);
  if (configuration.stats) at_quick_exit(at_exit);
}

void at_exit() { report::write_at_exit(); }

}  // namespace nebula::lifecycle
