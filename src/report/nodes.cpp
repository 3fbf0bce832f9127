// The text report's part about NUMA: a line for what is in force, and a row for each node heap.
#include "report/forms.hpp"

namespace nebula::report {
namespace {

using placement::State;

void write_rules(Text& text, const NumaRules& rules) {
  if (rules.small_objects == rules.large_objects) return placement::write_rule(text, rules.small_objects);
  text << "small=";
  placement::write_rule(text, rules.small_objects);
  text << ",large=";
  placement::write_rule(text, rules.large_objects);
}

const char* policy_name(os::Policy policy) {
  switch (policy) {
    case os::Policy::kPreferred: return "preferred";
    case os::Policy::kBind: return "bind";
    case os::Policy::kInterleave: return "interleave";
    case os::Policy::kKernel: break;
  }
  return "default";
}

void write_row(Text& text, HeapId heap, const stats::NodeRow& row) {
  TextOf<64> name;
  placement::write_purpose(name, heap);
  text << "  ";
  text.left(name.view(), 22).right(row.in_use_bytes, 17).right(row.committed_bytes, 17).right(row.resident_pages, 8);
  text << '/' << row.looked_at_pages;
  if (row.resident_pages != 0 && placement::node_of(heap) != NodeSet::kEnd) {
    text.right(row.local_pages * 100 / row.resident_pages, 7);
    text << " %";
  } else {
    text.right("-", 9);
  }
  text.right(row.traffic.returned, 13).right(row.traffic.fallbacks, 11).right(row.traffic.arrivals, 10) << '\n';
}

}  // namespace

void write_nodes(Text& text, const stats::Nodes& nodes) {
  const placement::Facts& facts = placement::facts();
  switch (nodes.state) {
    case State::kNotStarted:
    case State::kOneNode: return;
    case State::kOff: text << "\nnodes     NEBULA_NUMA=off\n"; return;
    case State::kRefused: text << "\nnodes     no room for a heap of each node\n"; return;
    case State::kProgramsPolicy:
      text << "\nnodes     the program's own policy holds: " << policy_name(facts.programs.policy) << ' ';
      text.nodes(facts.programs.nodes) << '\n';
      return;
    case State::kInForce: break;
  }
  text << "\nnodes     ";
  write_rules(text, facts.rules);
  (text << "; memory may come from ").nodes(facts.nodes) << '\n';
  if (nodes.count == 1) return;
  text << "  heap                             in use        committed  resident   local     returned  fallbacks  arrivals\n";
  std::uint64_t refusals = 0;
  for (unsigned heap = 0; heap < nodes.count; ++heap) {
    write_row(text, static_cast<HeapId>(heap), nodes.rows[heap]);
    refusals += nodes.rows[heap].placement_refusals;
  }
  if (refusals != 0) text << "  (the system refused to place memory " << refusals << " times)\n";
}

}  // namespace nebula::report
