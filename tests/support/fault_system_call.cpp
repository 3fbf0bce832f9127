#include "support/fault_system_call.hpp"

#include <sys/syscall.h>

#include <atomic>

#include "os/system_call.hpp"
#include "support/enter_kernel.hpp"

namespace nebula {
namespace {

testing::FaultPlan plan;  // set while no other thread runs
std::atomic<long> requests{0};
testing::StandIn kernel;  // the same

bool is_request_for_memory(long number) {
  return number == SYS_mmap || number == SYS_madvise || number == SYS_mremap || number == SYS_munmap;
}

}  // namespace

namespace testing {

void plan_faults(const FaultPlan& new_plan) {
  plan = new_plan;
  requests = 0;
}

void stand_in(StandIn new_kernel) { kernel = new_kernel; }

long requests_made() { return requests; }

}  // namespace testing

// The library's way to the kernel, in place of src/os/system_call.cpp.
long os::system_call(long number, long a, long b, long c, long d, long e, long f) {
  if (is_request_for_memory(number)) {
    const long which = requests.fetch_add(1, std::memory_order_relaxed) + 1;
    if (plan.first != 0 && which >= plan.first && which - plan.first < plan.count) return -plan.error;
  }
  if (kernel != nullptr)
    if (const long answer = kernel(number, a, b, c, d); answer != testing::kAskKernel) return answer;
  return testing::enter_kernel(number, a, b, c, d, e, f);
}

}  // namespace nebula
