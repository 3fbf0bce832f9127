// Refusals by plan: which of the requests for memory (mmap, madvise, mremap, munmap) that the library makes the kernel
// does not get to see.
#pragma once

namespace nebula::testing {

struct FaultPlan {
  long first = 0;  // counted from 1; 0: none
  long count = 1;  // that many in a row
  int error = 0;   // errno's number
};
void plan_faults(const FaultPlan& plan);
// Sees each call before the kernel does; what it returns is the answer in the kernel's place, kAskKernel none. Null: nobody.
inline constexpr long kAskKernel = -0x10000;
using StandIn = long (*)(long number, long a, long b, long c, long d);
void stand_in(StandIn kernel);
// Requests since the last plan, refused ones included.
[[nodiscard]] long requests_made();

}  // namespace nebula::testing
