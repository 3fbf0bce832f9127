// What is said and done when a limit is reached: a line with the holders at the first refusal, an event in a file, a signal to
// the program, the death that was asked for.
#pragma once

#include <string_view>

#include "heap/heap.hpp"

namespace nebula::report {

struct BudgetWishes {
  int signal = 0;               // 0: none
  std::string_view event_file;  // a pattern, see config::expand_path; empty: none
  bool report = false;          // when a limit is first reached, and when it first refuses
};
// Before there are threads.
void set_budget_wishes(const BudgetWishes& wishes);

// Called outside all locks and of the slow path, by any thread.
void on_budget_event(const heap::BudgetEvent& event);

}  // namespace nebula::report
