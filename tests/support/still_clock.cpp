// The library's way to the kernel, in place of src/os/system_call.cpp, with a clock that stands still: nothing comes due by it
// however slowly a program runs. Holds where there is no vDSO to read the clock from, as under valgrind.
#include <sys/syscall.h>
#include <time.h>

#include "os/system_call.hpp"
#include "support/enter_kernel.hpp"

namespace nebula::os {

long system_call(long number, long a, long b, long c, long d, long e, long f) {
  if (number != SYS_clock_gettime) return testing::enter_kernel(number, a, b, c, d, e, f);
  *reinterpret_cast<timespec*>(b) = {1, 0};
  return 0;
}

}  // namespace nebula::os
