// sigaction and signal: where a crash is to be reported (NEBULA_STATS_ON_CRASH), the default action of a fatal signal is the
// report's. Everything else goes on to whoever is next.
#include <errno.h>
#include <signal.h>

#include "preload/interpose.hpp"
#include "preload/next.hpp"
#include "report/crash.hpp"

namespace report = nebula::report;

extern "C" {

NEBULA_EXPORT int sigaction(int number, const struct sigaction* action, struct sigaction* old_action) noexcept {
  static constinit nebula::Next<report::SetAction> next{"sigaction"};
  if (!report::watches_crash(number)) return next.get()(number, action, old_action);
  return report::change_action(number, action, old_action, next.get());
}

NEBULA_EXPORT sighandler_t signal(int number, sighandler_t handler) noexcept {
  static constinit nebula::Next<sighandler_t (*)(int, sighandler_t)> next{"signal"};
  if (!report::watches_crash(number)) return next.get()(number, handler);
  struct sigaction action = {};
  struct sigaction old = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaddset(&action.sa_mask, number);
  return sigaction(number, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

}  // extern "C"
