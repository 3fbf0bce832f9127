#include "budget/process_limits.hpp"

#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "sync/lock.hpp"

namespace nebula::process_limits {
namespace {

NEBULA_LATER_DATA constinit Lock lock{LockRank::kLeaf};
constinit bool program_has_spoken = false;  // under the lock

}  // namespace

void set(std::uint64_t hard, std::uint64_t soft) {
  const LockGuard guard(lock);
  program_has_spoken = true;
  process_account.set_limits(hard, soft);
}

void set_by_environment(std::uint64_t hard, std::uint64_t soft) {
  const LockGuard guard(lock);
  if (!program_has_spoken) process_account.set_limits(hard, soft);
}

void reset_in_child() {
  if (!lock.is_mine()) lock.reset_in_child();
}

}  // namespace nebula::process_limits
