// How much memory this process may use: of the machine, and of the control groups it is in (version 1 and 2, every
// ancestor). Also how short memory is: pressure stall information (Linux 4.20, /proc/pressure/memory), and how full the control
// group is.
//
// Reads files under /proc and the mount point of the control groups, by raw system calls, at the start and then only where
// the option asks for it; nothing here allocates or locks. Callers see to it that one thread at a time is inside.
#pragma once

#include <cstdint>

namespace nebula::machine {

inline constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};

struct MemoryLimit {
  std::uint64_t bytes = kUnlimited;  // the smallest of all; kUnlimited when not even the machine says how much it has
  bool by_control_group = false;
};
// Before each path goes `root`, empty but in tests. Finds the control groups anew each time: a process can be moved.
[[nodiscard]] MemoryLimit memory_limit(const char* root = "");

// Bytes that the group with the smallest limit uses of it; 0 when no group limits.
struct GroupUse {
  std::uint64_t used = 0;
  std::uint64_t limit = kUnlimited;
};
[[nodiscard]] GroupUse group_use(const char* root = "");

enum class PressureOf { kMachine, kControlGroup };
// Microseconds in which some task waited for memory, since the start; kUnlimited when the kernel does not say.
[[nodiscard]] std::uint64_t stalled_microseconds(PressureOf whose, const char* root = "");

}  // namespace nebula::machine
