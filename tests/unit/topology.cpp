// The topology room over trees as /sys/devices/system/node has them on machines that this one is not.
#include "topology/topology.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "os/numa.hpp"

namespace nebula {
namespace {

NodeSet set_of(const std::vector<unsigned>& nodes) {
  NodeSet set;
  for (const unsigned node : nodes) set.add(node);
  return set;
}

// A folder of its own, gone at the end of the test.
class TopologyTree {
 public:
  TopologyTree() {
    char name[] = "/tmp/nebula-topology-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~TopologyTree() { std::filesystem::remove_all(root_); }
  TopologyTree& file(const std::string& path, const std::string& words) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << words << '\n';
    return *this;
  }
  TopologyTree& node(unsigned number, const std::string& processors, const std::string& distances) {
    const std::string folder = "node" + std::to_string(number);
    return file(folder + "/cpulist", processors).file(folder + "/distance", distances);
  }
  [[nodiscard]] const Topology& read(const std::vector<unsigned>& allowed) {
    topology_.read(root_.c_str(), set_of(allowed));
    return topology_;
  }
  [[nodiscard]] std::vector<unsigned> order_from(unsigned node) const {
    std::uint16_t order[Topology::kNodesMost];
    const unsigned count = topology_.by_distance(node, order);
    return {order, order + count};
  }

 private:
  std::filesystem::path root_;
  Topology topology_;
};

using Numbers = std::vector<unsigned>;

TEST(Topology, FourNodesInARing) {
  TopologyTree tree;
  tree.file("online", "0-3").file("has_memory", "0-3");
  tree.node(0, "0-1", "10 21 31 21").node(1, "2-3", "21 10 21 31").node(2, "4-5", "31 21 10 21").node(3, "6-7", "21 31 21 10");
  const Topology& topology = tree.read({0, 1, 2, 3});
  EXPECT_EQ(topology.usable(), set_of({0, 1, 2, 3}));
  EXPECT_EQ(topology.distance(0, 2), 31u);
  EXPECT_EQ(topology.distance(2, 2), 10u);
  EXPECT_EQ(topology.node_of_processor(0), 0u);
  EXPECT_EQ(topology.node_of_processor(5), 2u);
  EXPECT_EQ(topology.node_of_processor(8), NodeSet::kEnd);
  EXPECT_EQ(tree.order_from(0), (Numbers{0, 1, 3, 2}));
  EXPECT_EQ(tree.order_from(2), (Numbers{2, 1, 3, 0}));
}

TEST(Topology, SparseNumbersAndColumnsOfOnlineNodes) {
  TopologyTree tree;
  tree.file("online", "0,8,250-251").file("has_memory", "0,8,250-251");
  tree.node(0, "0", "10 40 80 20").node(8, "1", "40 10 20 20").node(250, "2", "80 20 10 40").node(251, "3", "20 20 40 10");
  const Topology& topology = tree.read({0, 8, 250, 251});
  EXPECT_EQ(topology.usable().count(), 4u);
  EXPECT_EQ(topology.distance(0, 250), 80u);
  EXPECT_EQ(topology.distance(251, 0), 20u);
  EXPECT_EQ(topology.node_of_processor(2), 250u);
  EXPECT_EQ(tree.order_from(0), (Numbers{0, 251, 8, 250}));
}

TEST(Topology, NodesWithoutProcessorsOrWithoutMemory) {
  TopologyTree tree;  // 1 has no memory, 2 no processors: a card of slow memory
  tree.file("online", "0-2").file("has_memory", "0,2").file("has_cpu", "0-1");
  tree.node(0, "0-3", "10 20 30").node(1, "4-7", "20 10 15").node(2, "", "30 15 10");
  const Topology& topology = tree.read({0, 2});
  EXPECT_EQ(topology.usable(), set_of({0, 2}));
  EXPECT_EQ(topology.node_of_processor(4), 1u);
  EXPECT_EQ(topology.nearest_usable(1), 2u);
  EXPECT_EQ(topology.nearest_usable(0), 0u);
  EXPECT_EQ(tree.order_from(1), (Numbers{2, 0}));
}

TEST(Topology, OfEqualsTheLowestNumberIsNearest) {
  TopologyTree tree;
  tree.file("online", "0-3").file("has_memory", "0,2-3");
  for (unsigned node = 0; node < 4; ++node) tree.node(node, std::to_string(node), "10 20 20 20");
  EXPECT_EQ(tree.read({0, 2, 3}).nearest_usable(1), 0u);
}

TEST(Topology, ACpusetTakesNodesAway) {
  TopologyTree tree;
  tree.file("online", "0-3").file("has_memory", "0-3");
  tree.node(0, "0", "10 20 20 30").node(1, "1", "20 10 20 20").node(2, "2", "20 20 10 20").node(3, "3", "30 20 20 10");
  const Topology& topology = tree.read({2, 3});
  EXPECT_EQ(topology.usable(), set_of({2, 3}));
  EXPECT_EQ(topology.nearest_usable(0), 2u) << "a thread may still run where its memory may not be";
}

TEST(Topology, OfflineProcessorsAreNotKnown) {
  TopologyTree tree;
  tree.file("online", "0-1").file("has_memory", "0-1");
  tree.node(0, "0,2-3", "10 20").node(1, "5,7", "20 10");
  const Topology& topology = tree.read({0, 1});
  EXPECT_EQ(topology.node_of_processor(1), NodeSet::kEnd);
  EXPECT_EQ(topology.node_of_processor(3), 0u);
  EXPECT_EQ(topology.node_of_processor(6), NodeSet::kEnd);
  EXPECT_EQ(topology.node_of_processor(7), 1u);
  EXPECT_EQ(topology.node_of_processor(Topology::kProcessorsMost), NodeSet::kEnd);
  EXPECT_EQ(topology.node_of_processor(os::kNoProcessor), NodeSet::kEnd);
}

TEST(Topology, WithoutSysWhatTheKernelAllowsIsThere) {
  Topology topology;
  topology.read("/there/is/no/such/folder", set_of({0, 3}));
  EXPECT_EQ(topology.online(), set_of({0, 3}));
  EXPECT_EQ(topology.usable(), set_of({0, 3}));
  EXPECT_EQ(topology.distance(0, 3), Topology::kUnknownDistance);
  EXPECT_EQ(topology.distance(3, 3), Topology::kLocalDistance);
  EXPECT_EQ(topology.node_of_processor(0), NodeSet::kEnd);
  EXPECT_EQ(topology.nearest_usable(1), 0u);
}

TEST(Topology, BrokenFilesAreMadeUpFor) {
  TopologyTree tree;
  tree.file("online", "0-1,x").file("has_memory", "");
  tree.node(0, "0-", "10 oops").node(1, "1-99999999", "");
  const Topology& topology = tree.read({0, 1});
  EXPECT_EQ(topology.usable(), set_of({0, 1}));
  EXPECT_EQ(topology.distance(0, 1), Topology::kUnknownDistance);
  EXPECT_EQ(topology.distance(1, 1), Topology::kLocalDistance);
  EXPECT_EQ(topology.node_of_processor(Topology::kProcessorsMost - 1), 1u);
}

TEST(Topology, MoreNodesThanAreLookedAt) {
  TopologyTree tree;
  tree.file("online", "0-199").file("has_memory", "0-199");
  for (unsigned node = 0; node < 200; ++node) tree.node(node, std::to_string(node), "10");
  const Topology& topology = tree.read({0, 150});
  EXPECT_EQ(topology.node_of_processor(63), 63u);
  EXPECT_EQ(topology.node_of_processor(150), NodeSet::kEnd);
  EXPECT_EQ(topology.distance(0, 150), Topology::kUnknownDistance);
  EXPECT_EQ(topology.nearest_usable(150), 150u);
}

TEST(Topology, ThisMachineKnowsThisProcessor) {
  const os::Place place = os::place_by_vdso();
  ASSERT_NE(place.processor, os::kNoProcessor);
  Topology topology;
  topology.read("/sys/devices/system/node", set_of({place.node}));
  if (!topology.online().has(place.node)) GTEST_SKIP() << "no NUMA in /sys here";
  EXPECT_EQ(topology.nearest_usable(place.node), place.node);
  EXPECT_EQ(topology.node_of_processor(place.processor), place.node);
}

}  // namespace
}  // namespace nebula
