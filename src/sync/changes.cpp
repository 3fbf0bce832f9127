#include "sync/changes.hpp"

#include "os/process.hpp"

namespace nebula {

void Changes::wait(Lock& lock, std::uint32_t so_far) {
  const std::uint32_t era = waiting_.begin();
  lock.unlock();
  os::wait_while(count_, so_far);
  lock.lock();
  waiting_.end(era);
}

void Changes::announce() {
  count_.fetch_add(1, std::memory_order_relaxed);
  if (waiting_.count() != 0) os::wake_all(count_);
}

void Changes::forget_in_child() {
  waiting_.forget_in_child();
  count_.fetch_add(1, std::memory_order_relaxed);  // there is no other thread
}

}  // namespace nebula
