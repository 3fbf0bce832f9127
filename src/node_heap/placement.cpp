#include "node_heap/placement.hpp"

#include <span>

#include "base/start_data.hpp"
#include "budget/heap_accounts.hpp"
#include "budget/node_limits.hpp"
#include "diag/message.hpp"
#include "node_heap/node_heap.hpp"
#include "topology/topology.hpp"

namespace nebula::placement {

NEBULA_START_DATA constinit std::atomic<HeapId> small_from{kFirstHeap};
NEBULA_START_DATA constinit std::atomic<HeapId> large_from{kFirstHeap};

namespace {

constexpr const char* kFolder = "/sys/devices/system/node";
constexpr unsigned kNodesMost = kPlacesMost - 2;  // two more rules may need a heap
constexpr std::uint8_t kUnknown = 0;

struct Purpose {
  NumaRule rule;
  unsigned node;  // of a local rule; else NodeSet::kEnd
};

// Written at the start, by one thread; read by all.
NEBULA_START_DATA constinit Facts state = {};
NEBULA_START_DATA constinit unsigned purposes_count = 0;
constinit Purpose purposes[kPlacesMost] = {};
// A heap's number and one, or kUnknown.
constinit std::uint8_t heap_of_node[NodeSet::kEnd] = {};
constinit std::uint8_t heap_of_processor[Topology::kProcessorsMost] = {};
using Here = HeapId (*)();
constinit Here here_in_test = nullptr;

os::Placement placement_for(const Purpose& purpose) {
  os::Placement placement;
  placement.nodes = purpose.rule.nodes.is_empty() ? topology.usable() : purpose.rule.nodes;
  switch (purpose.rule.mode) {
    case NumaRule::Mode::kLocal:
      placement = {os::Policy::kPreferred, {}};
      placement.nodes.add(purpose.node);
      break;
    case NumaRule::Mode::kInterleave: placement.policy = os::Policy::kInterleave; break;
    case NumaRule::Mode::kPreferred: placement.policy = os::Policy::kPreferred; break;
    case NumaRule::Mode::kBind: placement.policy = os::Policy::kBind; break;
    case NumaRule::Mode::kOff: break;
  }
  return placement;
}

// The heap for a rule: one that is there already for the same, else one more.
HeapId heap_for(const NumaRule& rule) {
  if (rule.mode == NumaRule::Mode::kLocal) return kByNode;
  for (unsigned i = 0; i < purposes_count; ++i)
    if (purposes[i].rule == rule) return static_cast<HeapId>(i);
  purposes[purposes_count] = {rule, NodeSet::kEnd};
  return static_cast<HeapId>(purposes_count++);
}

void add_node(unsigned node) {
  if (purposes_count == kNodesMost) return;
  heap_of_node[node] = static_cast<std::uint8_t>(purposes_count + 1);
  purposes[purposes_count++] = {{}, node};
}

// The node this thread runs on, or the nearest that memory may come from.
unsigned usable_node_here() {
  const unsigned processor = os::processor_by_rseq();
  unsigned node = processor == os::kNoProcessor ? NodeSet::kEnd : topology.node_of_processor(processor);
  if (node == NodeSet::kEnd) node = os::place_by_vdso().node;
  return topology.nearest_usable(node);
}

// One heap for each node: the first, which has what was allocated until now, is for the node where that was done.
void add_nodes() {
  const unsigned here = usable_node_here();
  add_node(here);
  for (unsigned node = topology.usable().next(0); node != NodeSet::kEnd; node = topology.usable().next(node + 1))
    if (node != here) add_node(node);
}

void find_heaps_of_places() {
  for (unsigned node = 0; node < NodeSet::kEnd; ++node)
    if (heap_of_node[node] == kUnknown) heap_of_node[node] = heap_of_node[topology.nearest_usable(node)];
  for (unsigned processor = 0; processor < Topology::kProcessorsMost; ++processor)
    if (const unsigned node = topology.node_of_processor(processor); node != NodeSet::kEnd)
      heap_of_processor[processor] = heap_of_node[node];
}

// Whoever has no more to give is helped by the nearest first; heaps that are for no single node help last. A rule that
// binds is not helped.
void find_helpers(HeapId heap) {
  if (purposes[heap].rule.mode == NumaRule::Mode::kBind) return;
  HeapId helpers[kPlacesMost];
  bool is_listed[kPlacesMost] = {};
  unsigned count = 0;
  const auto add = [&](unsigned other) {
    if (other == heap || is_listed[other] || purposes[other].rule.mode == NumaRule::Mode::kBind) return;
    is_listed[other] = true;
    helpers[count++] = static_cast<HeapId>(other);
  };
  std::uint16_t order[Topology::kNodesMost];
  const unsigned nodes = purposes[heap].node == NodeSet::kEnd ? 0 : topology.by_distance(purposes[heap].node, order);
  for (unsigned i = 0; i < nodes; ++i)
    for (unsigned other = 0; other < purposes_count; ++other)
      if (purposes[other].node == order[i]) add(other);
  for (unsigned other = 0; other < purposes_count; ++other) add(other);
  NodeHeap::at(heap).set_helpers(helpers, count);
}

// False: a node is named that memory cannot come from; said.
NEBULA_START_CODE bool are_nodes_there(const NumaRule& rule, const NodeSet& there) {
  for (unsigned node = rule.nodes.next(0); node != NodeSet::kEnd; node = rule.nodes.next(node + 1)) {
    if (there.has(node)) continue;
    TextOf<512> line;
    line << "NEBULA_NUMA=";
    write_rule(line, rule);
    (line << ": memory cannot come from node ").plain(node) << "; it can from ";
    line.nodes(there) << "; using the default, local";
    say(line.view());
    return false;
  }
  return true;
}

// The nodes that memory may come from; false where that is one, or not to be known.
bool find_nodes() {
  NodeSet allowed;
  switch (os::allowed_nodes(allowed)) {
    case os::Answer::kUnsupported: return false;
    case os::Answer::kKnown: break;
    case os::Answer::kForbidden:  // containers do not let it ask: then what /sys says
      for (unsigned node = 0; node < NodeSet::kEnd; ++node) allowed.add(node);
      topology.read(kFolder, allowed);
      state.nodes = topology.usable();
      return state.nodes.count() > 1 && state.nodes != allowed;
  }
  state.nodes = allowed;
  if (allowed.count() <= 1) return false;
  topology.read(kFolder, allowed);
  state.nodes = topology.usable();
  return state.nodes.count() > 1;
}

}  // namespace

void start(const NumaRules& rules) {
  using Mode = NumaRule::Mode;
  if (state.state != State::kNotStarted) return;
  state.rules = rules;
  if (rules.small_objects.mode == Mode::kOff && rules.large_objects.mode == Mode::kOff) {
    state.state = State::kOff;
    return;
  }
  const bool has_several = find_nodes();
  if (!are_nodes_there(rules.small_objects, state.nodes) || !are_nodes_there(rules.large_objects, state.nodes))
    state.rules = {};
  state.state = State::kOneNode;
  if (!has_several) return;
  if (!state.rules.is_given) state.programs = os::policy_of_thread();
  if (state.programs.policy != os::Policy::kKernel) {
    state.state = State::kProgramsPolicy;
    return;
  }
  const NumaRule& small_rule = state.rules.small_objects;
  const NumaRule& large_rule = state.rules.large_objects;
  if (small_rule.mode == Mode::kLocal || large_rule.mode == Mode::kLocal) add_nodes();
  const HeapId small_heap = heap_for(small_rule);
  const HeapId large_heap = heap_for(large_rule);
  if (purposes_count > 1 && !NodeHeap::make(purposes_count)) {
    state.state = State::kRefused;
    return;
  }
  for (unsigned i = 0; i < purposes_count; ++i) {
    const auto heap = static_cast<HeapId>(i);
    NodeHeap::at(heap).spans().set_placement(placement_for(purposes[heap]));
    find_helpers(heap);
  }
  if (purposes[kFirstHeap].node != NodeSet::kEnd) find_heaps_of_places();
  state.state = State::kInForce;
  small_from.store(small_heap, std::memory_order_relaxed);
  large_from.store(large_heap, std::memory_order_relaxed);
}

namespace {

// The node that all memory of a place comes from; NodeSet::kEnd where it is several.
NEBULA_START_CODE unsigned only_node_of(HeapId place) {
  const Purpose& purpose = purposes[place];
  if (place >= purposes_count) return state.nodes.count() == 1 ? state.nodes.next(0) : state.nodes.is_empty() ? 0 : NodeSet::kEnd;
  if (purpose.node != NodeSet::kEnd) return purpose.node;
  return purpose.rule.nodes.count() == 1 ? purpose.rule.nodes.next(0) : NodeSet::kEnd;
}

void say_of_node_limit(const Account& account, const char* why) {
  TextOf<512> line;
  (line << "NEBULA_BUDGET_NODE: the limit of node ").plain(node_limits::node_of(account)) << why;
  say(line.view());
}

}  // namespace

bool begin_node_limits() {
  bool good = true;
  for (const Account& account : node_limits::accounts()) {
    const unsigned node = node_limits::node_of(account);
    bool is_counted = true;
    for (unsigned place = 0; place < NodeHeap::places(); ++place)
      is_counted = is_counted && only_node_of(static_cast<HeapId>(place)) != NodeSet::kEnd;
    const bool is_there = state.nodes.is_empty() ? node == 0 : state.nodes.has(node);
    if (!is_counted) say_of_node_limit(account, " needs memory that comes from one node at a time: NEBULA_NUMA=local, preferred:NODE or bind:NODE, and no policy of the program's own");
    else if (!is_there) say_of_node_limit(account, " cannot hold: memory does not come from there");
    good = good && is_counted && is_there;
  }
  if (!good) return false;
  for (unsigned place = 0; place < NodeHeap::places(); ++place) {
    Account* const account = node_limits::of(only_node_of(static_cast<HeapId>(place)));
    // The first place has all that was committed until now; metadata is on no node in particular.
    const std::size_t so_far = place == kFirstHeap ? process_account.committed() - pages::metadata_bytes() : 0;
    if (account != nullptr) heap_accounts::set(static_cast<HeapId>(place), {account, nullptr, nullptr}, so_far);
  }
  return true;
}

bool start_with(unsigned heaps, HeapId (*here)()) {
  if (!NodeHeap::make(heaps)) return false;
  here_in_test = here;
  for (unsigned i = 0; i < heaps; ++i) add_node(i);
  for (unsigned i = 0; i < heaps; ++i) find_helpers(static_cast<HeapId>(i));
  state.state = State::kInForce;
  small_from.store(kByNode, std::memory_order_relaxed);
  large_from.store(kByNode, std::memory_order_relaxed);
  return true;
}

HeapId heap_of_this_node() {
  if (here_in_test != nullptr) return here_in_test();
  const unsigned processor = os::processor_by_rseq();
  std::uint8_t found = processor < Topology::kProcessorsMost ? heap_of_processor[processor] : kUnknown;
  if (found == kUnknown) {
    const unsigned node = os::place_by_vdso().node;
    if (node < NodeSet::kEnd) found = heap_of_node[node];
  }
  return found == kUnknown ? kFirstHeap : static_cast<HeapId>(found - 1);
}

const Facts& facts() { return state; }

unsigned node_of(HeapId heap) { return heap < purposes_count ? purposes[heap].node : NodeSet::kEnd; }

void write_rule(Text& text, const NumaRule& rule) {
  switch (rule.mode) {
    case NumaRule::Mode::kLocal: text << "local"; return;
    case NumaRule::Mode::kOff: text << "off"; return;
    case NumaRule::Mode::kInterleave: text << "interleave"; break;
    case NumaRule::Mode::kPreferred: text << "preferred"; break;
    case NumaRule::Mode::kBind: text << "bind"; break;
  }
  if (!rule.nodes.is_empty()) (text << ':').nodes(rule.nodes);
}

void write_purpose(Text& text, HeapId heap) {
  if (heap >= purposes_count) text << "all";
  else if (purposes[heap].node != NodeSet::kEnd) (text << "node ").plain(purposes[heap].node);
  else write_rule(text, purposes[heap].rule);
}

}  // namespace nebula::placement
