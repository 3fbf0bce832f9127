// Reports while the program runs: when it is sent a signal, and a line every so often. A thread of its own writes them, which
// never allocates and takes no signals, so that a program that is idle, hung or in the middle of an allocation is told of as
// well as any other. It exists only where one of the two is asked for.
#pragma once

#include <cstdint>

namespace nebula::report {

struct ReporterWishes {
  int signal = 0;                           // 0: none
  std::uint64_t interval_milliseconds = 0;  // 0: none
};
// Before main. A signal that the program, or whoever started it, handles or ignores is left alone, and that is said; the same
// for one that the program takes later.
void start_reporter(const ReporterWishes& wishes);
// In the child of fork, where the thread is not, and no lock is held.
void restart_reporter_in_child();
// Says so when the program has taken the signal.
void check_signal();

}  // namespace nebula::report
