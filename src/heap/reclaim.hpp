// What happens when memory is short: reclaim step by step, cheapest and nearest first, before a request is refused; within a
// work cap above a soft limit; and by how short the machine is, where that is asked for.
//
// Runs inside a slow path, with no lock held. Who wants to hear of limits and refusals hears outside of it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "budget/account.hpp"
#include "config/budgets.hpp"
#include "heap/purge_news.hpp"
#include "node_heap/node_heap.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula::heap {

// Held around whatever is in two places at once for a moment (units taken and not yet an object's, slots out of a depot
// and not yet back in a slab): fork waits for it, and so the child, where this thread does not exist, loses nothing.
class HoldGate {
 public:
  HoldGate() : gate_(thread_heap::my_gate()) { lock(); }
  ~HoldGate() { unlock(); }
  HoldGate(const HoldGate&) = delete;
  HoldGate& operator=(const HoldGate&) = delete;

 private:
  void lock() NEBULA_UNCHECKED { gate_.lock(); }
  void unlock() NEBULA_UNCHECKED { gate_.unlock(); }
  Lock& gate_;
};

enum class Step : std::uint8_t { kOwnPools, kDepots, kOtherThreads, kEmptySlabs, kDirtyPages, kSlabPages, kAllDirtyPages, kEnd };

struct StepFacts {
  std::uint64_t runs = 0;
  std::uint64_t bytes = 0;  // given back to the system
  std::uint64_t nanoseconds = 0;
};
[[nodiscard]] StepFacts step_facts(Step step);

struct Request {
  std::size_t size = 0;       // what the program asked for
  std::size_t new_bytes = 0;  // what must be committed for it at least
  enum class Refusal : std::uint8_t { kNone, kByBudget, kBySystem } refusal = Refusal::kNone;
  Account* by = nullptr;      // that refused, if a budget did
};

// One try at the request: null when it failed, and refused_by says whether an account is the reason.
using Attempt = void* (*)(void* context);
// Tries, and after each step of reclaim again; null when all was in vain.
[[nodiscard]] void* with_reclaim(Request& request, Attempt attempt, void* context);

// All steps; the bytes given back.
std::size_t reclaim_everything(PurgeReason reason);
// At the end of a slow path: what a soft limit asks for.
void attend_soft_limit();
// Every 100 ms at most, on the slow path: memory that became idle goes back, sooner under pressure.
void attend_idle_memory();

// Called then too, inside the slow path, without locks; mostly by one thread at a time. Set before there are threads; false when
// there are four already.
using Watcher = void (*)();
bool watch_ticks(Watcher watcher);

// Before there are threads.
void set_reclaim_share(std::uint32_t percent);
void set_pressure_source(config::Pressure source);
// The limits are a share of what may change: looked at again when one is met, every 10 s at most.
using LimitReader = void (*)();
void set_limit_reader(LimitReader reader);

struct ReclaimFacts {
  std::uint64_t soft_crossings = 0;
  std::uint64_t soft_let_go = 0;     // times the work cap stopped a soft reclaim
  std::uint64_t pressure_looks = 0;
  std::uint64_t pressure_moderate = 0;
  std::uint64_t pressure_severe = 0;
  std::uint64_t pressure_bytes = 0;  // given back because of it
};
[[nodiscard]] ReclaimFacts reclaim_facts();

// In the child of a fork: what another thread was doing here has ended.
void reset_reclaim_in_child();

}  // namespace nebula::heap
