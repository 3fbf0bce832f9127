// Where memory and processors are: memory policies, and the processor that this thread runs on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/node_set.hpp"
#include "base/units.hpp"

namespace nebula::os {

enum class Answer : std::uint8_t {
  kKnown,
  kForbidden,    // a sandbox or container does not let the process ask
  kUnsupported,  // a kernel without NUMA
};
// The nodes that this process may take memory from, as cpusets have it.
[[nodiscard]] Answer allowed_nodes(NodeSet& nodes);

enum class Policy : std::uint8_t { kKernel, kPreferred, kBind, kInterleave };
struct Placement {
  Policy policy = Policy::kKernel;  // kKernel: nothing is asked for, and the rest of this is not looked at
  NodeSet nodes = {};
};
// What this thread asked for itself, or was started with (numactl); kKernel where that is not known.
[[nodiscard]] Placement policy_of_thread();

// Pages of this range that are touched from now on come from there. False when the kernel refuses: nothing changed.
[[nodiscard]] bool place(Address where, std::size_t bytes, const Placement& placement);

// For each page the node that it lies on, or a negative error number: not touched, not there. False: none is known.
[[nodiscard]] bool nodes_of_pages(std::span<const Address> pages, std::span<int> nodes);

inline constexpr unsigned kNoProcessor = ~0u;
// From the area that glibc shares with the kernel (rseq), so it costs a load; kNoProcessor where there is none.
[[nodiscard]] unsigned processor_by_rseq();
// From the vDSO; both are kNoProcessor and NodeSet::kEnd where there is none. No system call either.
struct Place {
  unsigned processor;
  unsigned node;
};
[[nodiscard]] Place place_by_vdso();

}  // namespace nebula::os
