#include "os/numa.hpp"

#include <errno.h>
#include <linux/mempolicy.h>
#include <linux/rseq.h>
#include <stddef.h>
#include <sys/syscall.h>

#include <atomic>

#include "os/system_call.hpp"
#include "os/vdso.hpp"

extern "C" {
extern const ptrdiff_t __rseq_offset __attribute__((weak));  // glibc 2.35
extern const unsigned int __rseq_size __attribute__((weak));
}

namespace nebula::os {
namespace {

// The kernel takes one off before it counts the words.
constexpr long kMaskBits = NodeSet::kEnd + 1;
// Flags in the mode that say how the nodes are meant when a cpuset changes.
constexpr int kModeFlags = MPOL_MODE_FLAGS;

int mode_of(Policy policy) {
  switch (policy) {
    case Policy::kPreferred: return MPOL_PREFERRED;
    case Policy::kBind: return MPOL_BIND;
    case Policy::kInterleave: return MPOL_INTERLEAVE;
    case Policy::kKernel: break;
  }
  return MPOL_DEFAULT;
}

}  // namespace

Answer allowed_nodes(NodeSet& nodes) {
  const long result = system_call(SYS_get_mempolicy, 0, as_long(nodes.words()), kMaskBits, 0, MPOL_F_MEMS_ALLOWED);
  if (result == 0) return Answer::kKnown;
  return result == -EPERM || result == -EACCES ? Answer::kForbidden : Answer::kUnsupported;
}

Placement policy_of_thread() {
  Placement found;
  int mode = MPOL_DEFAULT;
  if (system_call(SYS_get_mempolicy, as_long(&mode), as_long(found.nodes.words()), kMaskBits, 0, 0) != 0) return {};
  switch (mode & ~kModeFlags) {
    case MPOL_DEFAULT:
    case MPOL_LOCAL: found.policy = Policy::kKernel; break;
    case MPOL_BIND: found.policy = Policy::kBind; break;
    case MPOL_INTERLEAVE: found.policy = Policy::kInterleave; break;
    default: found.policy = Policy::kPreferred; break;  // one node or several
  }
  return found;
}

bool place(Address where, std::size_t bytes, const Placement& placement) {
  return system_call(SYS_mbind, static_cast<long>(where), static_cast<long>(bytes), mode_of(placement.policy),
                     as_long(placement.nodes.words()), kMaskBits, 0) == 0;
}

bool nodes_of_pages(std::span<const Address> pages, std::span<int> nodes) {
  constexpr long kThisProcess = 0;
  return system_call(SYS_move_pages, kThisProcess, static_cast<long>(pages.size()), as_long(pages.data()), 0,
                     as_long(nodes.data()), 0) == 0;
}

unsigned processor_by_rseq() {
  if (&__rseq_size == nullptr || &__rseq_offset == nullptr || __rseq_size == 0) return kNoProcessor;
  const auto* const area =
      reinterpret_cast<const struct rseq*>(static_cast<const char*>(__builtin_thread_pointer()) + __rseq_offset);
  const std::uint32_t processor = *const_cast<const volatile std::uint32_t*>(&area->cpu_id);  // the kernel writes it
  // Both "not yet" and "refused" are above every processor's number.
  constexpr std::uint32_t kErrorsLeast = static_cast<std::uint32_t>(RSEQ_CPU_ID_REGISTRATION_FAILED);
  return processor < kErrorsLeast ? processor : kNoProcessor;
}

Place place_by_vdso() {
  using Function = long (*)(unsigned*, unsigned*, void*);
  constexpr std::uintptr_t kNotThere = 1;
  static constinit std::atomic<std::uintptr_t> known{0};
  // relaxed: an address of code that was always there; whoever looks it up twice finds the same.
  std::uintptr_t function = known.load(std::memory_order_relaxed);
  if (function == 0) {
    function = find_in_vdso("__vdso_getcpu");
    if (function == 0) function = kNotThere;
    known.store(function, std::memory_order_relaxed);
  }
  Place place = {kNoProcessor, NodeSet::kEnd};
  if (function != kNotThere && reinterpret_cast<Function>(function)(&place.processor, &place.node, nullptr) != 0)
    place = {kNoProcessor, NodeSet::kEnd};
  return place;
}

}  // namespace nebula::os
