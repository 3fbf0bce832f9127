// What NEBULA_LOG tells beside warnings and errors, which those say who meet them: with info what was obtained at the start, the accounts
// of threads, limits that are reached and requests refused (budget_events.cpp); with debug growth, what is given back, reclaim.
#pragma once

namespace nebula::report {

// When all that is asked for at the start is in force. Costs nothing from then on where no more than warnings are told.
void begin_log();

}  // namespace nebula::report
