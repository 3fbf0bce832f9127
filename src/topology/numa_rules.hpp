// What NEBULA_NUMA asks for, per range of sizes.
#pragma once

#include <cstdint>

#include "base/node_set.hpp"

namespace nebula {

struct NumaRule {
  enum class Mode : std::uint8_t {
    kLocal,       // from the node that the thread runs on
    kInterleave,  // page by page from one node after the other
    kPreferred,   // from one node, elsewhere when it is full
    kBind,        // from these nodes and no others
    kOff,         // wherever the kernel takes it from
  };
  Mode mode = Mode::kLocal;
  NodeSet nodes;  // empty: all
  bool operator==(const NumaRule&) const = default;
};

struct NumaRules {
  NumaRule small_objects;
  NumaRule large_objects;
  bool is_given = false;  // by the user; else a policy that the program was started with goes first
};

}  // namespace nebula
