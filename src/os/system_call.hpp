// The one entry to the kernel. Everything in this room goes through it, and nothing outside this room calls it, so a
// test that links another definition sees and can refuse every single request (tests/support/fault_system_call.cpp).
#pragma once

namespace nebula::os {

// Returns what the kernel returns: a result, or a negative error number. errno is never touched. Thread-safe.
long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0);

// A pointer as an argument of it.
[[nodiscard]] inline long as_long(const void* pointer) { return reinterpret_cast<long>(pointer); }

}  // namespace nebula::os
