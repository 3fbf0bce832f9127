// The machine's NUMA nodes: which have memory for this process, how far they are from each other, and on which node a
// processor lies. Read once from /sys, and only where the kernel has told that there is more than one node to take memory
// from; a test gives another folder and another set.
//
// What /sys does not tell is made up for: without it every allowed node is there and all are equally far; a processor that
// it does not list (brought up later) has the node that the vDSO names.
//
// Written by one thread before others read it; after that it never changes.
#pragma once

#include <cstdint>
#include <span>

#include "base/node_set.hpp"

namespace nebula {

class Topology {
 public:
  static constexpr unsigned kNodesMost = 64;         // more are not looked at
  static constexpr unsigned kProcessorsMost = 8192;  // as many as Linux on x86-64 can have
  static constexpr unsigned kLocalDistance = 10;     // the firmware's unit (ACPI SLIT)
  static constexpr unsigned kUnknownDistance = 20;

  // folder: as /sys/devices/system/node. allowed: the nodes that this process may take memory from.
  void read(const char* folder, const NodeSet& allowed);

  [[nodiscard]] const NodeSet& online() const { return online_; }
  // Those with memory for this process; never empty once read, if `allowed` was not.
  [[nodiscard]] const NodeSet& usable() const { return usable_; }
  [[nodiscard]] unsigned distance(unsigned from, unsigned to) const;
  // The usable node with the least distance: itself where it has memory, the lowest number of equals. kEnd: none.
  [[nodiscard]] unsigned nearest_usable(unsigned node) const;
  // Writes the usable nodes, nearest first, the node itself included; how many.
  [[nodiscard]] unsigned by_distance(unsigned node, std::span<std::uint16_t> order) const;
  // kEnd where /sys did not list it.
  [[nodiscard]] unsigned node_of_processor(unsigned processor) const;

 private:
  [[nodiscard]] unsigned place_of(unsigned node) const;

  NodeSet online_;
  NodeSet usable_;
  unsigned count_ = 0;                  // of the online nodes that are looked at
  std::uint16_t numbers_[kNodesMost] = {};  // theirs, rising
  std::uint8_t distances_[kNodesMost][kNodesMost] = {};
  std::uint8_t places_[kProcessorsMost] = {};  // of a processor's node in numbers_, plus one; 0: not known
};

extern constinit Topology topology;

}  // namespace nebula
