// What a thread sleeps for that finds something under a lock not yet as it must be: that another one changes it.
//
// Who is about to sleep has read how many changes there were before it looked. So a signal handler that forks after the look, in
// whose child there is nobody left to change anything, has the child look again: forget_in_child() counts as a change.
#pragma once

#include <atomic>
#include <cstdint>

#include "sync/lock.hpp"
#include "sync/tally.hpp"

namespace nebula {

// All of it but forget_in_child() under the lock of what changes.
class Changes {
 public:
  // To be read before whatever wait() is called for is looked at.
  [[nodiscard]] std::uint32_t so_far() const {
    const std::uint32_t count = count_.load(std::memory_order_relaxed);  // changes only under the lock, or by our own handler
    std::atomic_signal_fence(std::memory_order_acq_rel);  // what the compiler does next is after what a handler then changes
    return count;
  }
  // Until there is one more, the lock released meanwhile; or for no reason.
  void wait(Lock& lock, std::uint32_t so_far) NEBULA_REQUIRES(lock);
  // Until it is not so.
  template <class Condition>
  void wait_while(Lock& lock, Condition is_so) NEBULA_REQUIRES(lock) {
    for (;;) {
      const std::uint32_t seen = so_far();
      if (!is_so()) return;
      wait(lock, seen);
    }
  }
  void announce();
  // In the child of a fork that waited for nobody: if it is this thread that waits, or is about to, it looks again.
  void forget_in_child();

 private:
  std::atomic<std::uint32_t> count_{0};  // a futex
  Tally waiting_;
};

}  // namespace nebula
