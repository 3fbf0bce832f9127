// The clock, straight from the kernel's vDSO: no system call, and none of libc's symbols, which other preloaded
// libraries (fake clocks, monitors) replace by functions of theirs that allocate.
#include <sys/syscall.h>
#include <time.h>

#include <atomic>

#include "base/start_data.hpp"
#include "os/process.hpp"
#include "os/system_call.hpp"
#include "os/vdso.hpp"

namespace nebula::os {
namespace {

using ClockFunction = int (*)(clockid_t, timespec*);

int clock_by_system_call(clockid_t clock, timespec* now) {
  return static_cast<int>(system_call(SYS_clock_gettime, clock, reinterpret_cast<long>(now)));
}

timespec read_clock(clockid_t clock) {
  NEBULA_START_DATA static constinit std::atomic<ClockFunction> known{nullptr};
  // relaxed: a pointer to code that was always there; whoever looks it up twice finds the same.
  ClockFunction function = known.load(std::memory_order_relaxed);
  if (function == nullptr) {
    function = reinterpret_cast<ClockFunction>(find_in_vdso("__vdso_clock_gettime"));
    if (function == nullptr) function = clock_by_system_call;
    known.store(function, std::memory_order_relaxed);
  }
  timespec now = {};
  function(clock, &now);
  return now;
}

}  // namespace

std::uint64_t coarse_milliseconds() {
  const timespec now = read_clock(CLOCK_MONOTONIC_COARSE);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

std::uint64_t nanoseconds() {
  const timespec now = read_clock(CLOCK_MONOTONIC);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace nebula::os
