// The report of a program that dies by a fatal signal. The handler writes on a stack of its own, allocates nothing, and then
// lets the program die as it would have: by what handled the signal before, or by the signal, with the registers of the fault.
//
// A handler that the program installs is called first and alone. When that one gives up, by setting the default action and
// raising the signal again, or by aborting, or by calling what was there before it, it comes here: the default action of these
// signals is this handler, as far as the program's calls of sigaction and signal tell (preload/signals.cpp).
#pragma once

#include "report/signal_action.hpp"

namespace nebula::report {

// Before main.
void report_on_crash();

// Whether the program's calls concern a signal that is watched; false, without a look further, unless any is.
[[nodiscard]] bool watches_crash(int number);
// sigaction for such a signal: the default action means this handler, and the other way round. `next` does it.
using SetAction = int (*)(int, const struct sigaction*, struct sigaction*);
int change_action(int number, const struct sigaction* action, struct sigaction* old_action, SetAction next);

}  // namespace nebula::report
