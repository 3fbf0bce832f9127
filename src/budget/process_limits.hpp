// Who says what the limits of the process are: the environment, whose shares of the machine's memory are looked at again, until
// the program itself says so; then only the program.
//
// Takes a leaf lock, so that two writers leave a pair of limits that one of them meant: for slow paths that hold no lock.
#pragma once

#include <cstdint>

namespace nebula::process_limits {

// By the program.
void set(std::uint64_t hard, std::uint64_t soft);
// By the environment; nothing happens once the program has spoken.
void set_by_environment(std::uint64_t hard, std::uint64_t soft);

// In the child of a fork: what another thread was doing here has ended.
void reset_in_child();

}  // namespace nebula::process_limits
