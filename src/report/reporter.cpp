#include "report/reporter.hpp"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include <atomic>

#include "base/start_data.hpp"
#include "diag/message.hpp"
#include "os/process.hpp"
#include "report/profile.hpp"
#include "report/report.hpp"
#include "report/signal_action.hpp"

namespace nebula::report {
namespace {

constexpr std::uint64_t kNever = ~std::uint64_t{0};
constexpr std::uint64_t kFirstLookMilliseconds = 1000;  // by then a program has set its handlers
constexpr std::size_t kStackBytes = 64 * 1024;

NEBULA_START_DATA constinit ReporterWishes wishes;
NEBULA_START_DATA constinit std::atomic<int> thread_of{0};  // the process that the thread is in; relaxed: set before signals can come
constinit std::atomic<std::uint32_t> signals_seen{0};  // a futex
NEBULA_START_DATA constinit std::atomic<bool> signal_is_ours{false};     // relaxed, for one line

void on_signal(int) {
  const int kept = errno;
  // Without the thread (the system refused it, or this is a child of vfork's kind) it is written here: the numbers are then of
  // slightly different moments if an allocation was interrupted.
  if (thread_of.load(std::memory_order_relaxed) == os::process_id()) {
    signals_seen.fetch_add(1, std::memory_order_relaxed);
    os::wake_all(signals_seen);
  } else {
    write_now(Reason::kSignal, stats::Caller::kOutsideSlowPath);
    write_profile();
  }
  errno = kept;
}

bool has_our_handler() {
  struct sigaction now = {};
  return __sigaction(wishes.signal, nullptr, &now) == 0 && now.sa_handler == on_signal;
}

void* run(void*) {
  os::name_thread("nebula");
  const std::uint64_t started = os::coarse_milliseconds();
  std::uint64_t next_line = wishes.interval_milliseconds == 0 ? kNever : started + wishes.interval_milliseconds;
  std::uint64_t next_look = wishes.signal == 0 ? kNever : started + kFirstLookMilliseconds;
  std::uint32_t answered = 0;
  for (;;) {
    // relaxed: a request carries nothing but itself.
    if (const std::uint32_t seen = signals_seen.load(std::memory_order_relaxed); seen != answered) {
      answered = seen;
      write_now(Reason::kSignal, stats::Caller::kOutsideSlowPath);
      write_profile();
    }
    const std::uint64_t now = os::coarse_milliseconds();
    if (now >= next_line) {
      append_line();
      write_profile();
      check_signal();
      while (next_line <= now) next_line += wishes.interval_milliseconds;
    }
    if (now >= next_look) {
      check_signal();
      next_look = kNever;
    }
    const std::uint64_t next = next_line < next_look ? next_line : next_look;
    if (next == kNever) os::wait_while(signals_seen, answered);
    else os::wait_while_for(signals_seen, answered, static_cast<unsigned>(next - now));
  }
}

void start_thread() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);  // libc leaves out the ones it needs itself
  if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return;
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // Thread-local storage lies on the stack: a program may have more of it than this stack is large.
  bool is_there = pthread_attr_setstacksize(&attributes, kStackBytes) == 0 && pthread_create(&thread, &attributes, run, nullptr) == 0;
  if (!is_there) {
    pthread_attr_destroy(&attributes);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    is_there = pthread_create(&thread, &attributes, run, nullptr) == 0;
  }
  pthread_attr_destroy(&attributes);
  if (is_there) thread_of.store(os::process_id(), std::memory_order_relaxed);
  else if (wishes.interval_milliseconds != 0) say("NEBULA_STATS_INTERVAL: the system refuses a thread, so no lines are written");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void take_signal() {
  TextOf<128> line;
  line << "NEBULA_STATS_SIGNAL: ";
  struct sigaction before = {};
  if (__sigaction(wishes.signal, nullptr, &before) != 0) {
    line << "the system refuses signal ";
  } else if (before.sa_handler != SIG_DFL) {
    line << (before.sa_handler == SIG_IGN ? "whoever started the program ignores signal " : "the program handles signal ");
  } else {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    signal_is_ours.store(true, std::memory_order_relaxed);
    if (__sigaction(wishes.signal, &action, nullptr) == 0) return;
    signal_is_ours.store(false, std::memory_order_relaxed);
    line << "the system refuses signal ";
  }
  line << static_cast<std::uint64_t>(wishes.signal) << ", which is left alone: it writes no reports";
  say(line.view());
}

}  // namespace

void start_reporter(const ReporterWishes& wanted) {
  wishes = wanted;
  const int kept = errno;
  if (wishes.signal != 0) take_signal();
  if (wishes.interval_milliseconds != 0 || signal_is_ours.load(std::memory_order_relaxed)) start_thread();
  errno = kept;
}

void restart_reporter_in_child() {
  if (thread_of.load(std::memory_order_relaxed) == 0) return;
  thread_of.store(0, std::memory_order_relaxed);
  signals_seen.store(0, std::memory_order_relaxed);
  const int kept = errno;
  start_thread();
  errno = kept;
}

void check_signal() {
  if (!signal_is_ours.load(std::memory_order_relaxed) || has_our_handler()) return;
  signal_is_ours.store(false, std::memory_order_relaxed);
  TextOf<128> line;
  line << "NEBULA_STATS_SIGNAL: the program has taken signal " << static_cast<std::uint64_t>(wishes.signal)
       << " for itself: it writes no reports any more";
  say(line.view());
}

}  // namespace nebula::report
