// Which node heap is for what: one for each NUMA node where memory is to be local, one more for each other rule in force.
//
// Where there is one node, or nothing is to be kept apart, the first heap is all there is, and of the system one question is
// asked, at the start: which nodes memory may come from. What may not be asked later (files, the policy that the program was
// started with) is asked then too; after that a thread finds its node without a system call.
#pragma once

#include <atomic>

#include "base/start_data.hpp"
#include "diag/text.hpp"
#include "os/numa.hpp"
#include "pages/address_space.hpp"
#include "topology/numa_rules.hpp"

namespace nebula::placement {

// Once, when the heap has started, before other threads. Says on standard error what cannot be done as asked.
NEBULA_START_CODE void start(const NumaRules& rules);
// The same with other nodes than this machine's: as many heaps for rules that say local, and the one to use now by a function.
// For tests.
[[nodiscard]] bool start_with(unsigned heaps, HeapId (*here)());

// What is taken in place of a heap's number where it is that of the thread's node.
inline constexpr HeapId kByNode = kNoHeap;
extern constinit std::atomic<HeapId> small_from;  // all relaxed: set at the start
extern constinit std::atomic<HeapId> large_from;
[[nodiscard]] HeapId heap_of_this_node();

// The heap that this thread's next small or large object should come from.
[[nodiscard]] inline HeapId small_here() {
  const HeapId from = small_from.load(std::memory_order_relaxed);
  return from == kByNode ? heap_of_this_node() : from;
}
[[nodiscard]] inline HeapId large_here() {
  const HeapId from = large_from.load(std::memory_order_relaxed);
  return from == kByNode ? heap_of_this_node() : from;
}

// Once, after start(): the nodes' limits hold for the heaps there are. Says what cannot be done as asked; false then.
[[nodiscard]] NEBULA_START_CODE bool begin_node_limits();

// For the report.
enum class State : std::uint8_t {
  kNotStarted,
  kOneNode,         // that memory may come from
  kOff,             // as asked
  kProgramsPolicy,  // the program was started with one of its own, and that holds
  kRefused,         // no room for the heaps
  kInForce,
};
struct Facts {
  State state;
  NumaRules rules;
  os::Placement programs;  // policy
  NodeSet nodes;           // that memory may come from
};
[[nodiscard]] const Facts& facts();
// What a heap is for, as the rule would be written: "node 2", "interleave:0-3".
void write_purpose(Text& text, HeapId heap);
// The node that it is for alone; NodeSet::kEnd where it is for several or whatever there is.
[[nodiscard]] unsigned node_of(HeapId heap);
void write_rule(Text& text, const NumaRule& rule);

}  // namespace nebula::placement
