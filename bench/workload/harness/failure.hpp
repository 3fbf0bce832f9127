// The two ways a workload ends early. Both write to standard error and allocate nothing.
#pragma once

namespace workload {

// The command line is wrong: status 2.
[[noreturn, gnu::format(printf, 1, 2)]] void refuse(const char* format, ...);

// The allocator (or the system) broke its promise: abort.
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char* format, ...);

}  // namespace workload
