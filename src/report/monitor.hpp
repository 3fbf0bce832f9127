// Tells the program what happens: the monitors of nebula.h. Called outside all locks and of the slow path, by whatever thread comes
// upon the event; lock-free, but that removing waits for callbacks that other threads are in.
#pragma once

#include <nebula/nebula.h>

#include "heap/heap.hpp"

namespace nebula::monitor {

inline constexpr unsigned kMost = 8;

enum class Added { kDone, kThereAlready, kNoRoom };
// The callbacks are those of `table` as long as it is there: checked by the caller.
[[nodiscard]] Added add(const nebula_monitor* table);
// Waits, unless this thread is in a callback, until no other is in one of it. False: it is not there.
[[nodiscard]] bool remove(const nebula_monitor* table);

void on_budget_event(const heap::BudgetEvent& event);

// In the child of a fork: callbacks that other threads were in have ended.
void reset_in_child();

}  // namespace nebula::monitor
