// Each node heap as the report shows it: only where there are several.
#pragma once

#include <cstdint>

#include "node_heap/node_heap.hpp"
#include "node_heap/placement.hpp"

namespace nebula::stats {

struct NodeRow {
  std::uint64_t in_use_bytes = 0;  // slots outside of slabs and large objects
  std::uint64_t committed_bytes = 0;
  std::uint64_t looked_at_pages = 0;  // a sample of the committed ones
  std::uint64_t resident_pages = 0;   // of these, as the kernel says
  std::uint64_t local_pages = 0;      // of these, on the node that the heap is for
  NodeHeap::Traffic traffic;
  std::uint64_t placement_refusals = 0;
};

struct Nodes {
  unsigned count = 0;  // of places; 1: no rows
  placement::State state = placement::State::kNotStarted;
  NodeRow rows[kPlacesMost];
};

// With the heap's locks, or roughly.
void look_at_nodes(Nodes& nodes);

}  // namespace nebula::stats
