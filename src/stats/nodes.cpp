#include "stats/nodes.hpp"

#include <bit>

#include "os/numa.hpp"
#include "slab/slab.hpp"
#include "spans/frontier.hpp"
#include "spans/large.hpp"

namespace nebula::stats {
namespace {

constexpr unsigned kSampleMost = 256;  // pages of each heap
constinit Address sample[kSampleMost];  // of the one thread that takes a snapshot
constinit int sample_nodes[kSampleMost];

Pages committed_pages(RegionIndex region) { return pages::committed_in(pages::pages_of(region)); }

void add_region(NodeRow& row, RegionIndex region) {
  const UnitIndex end = first_unit_of(region + 1);
  for (UnitIndex unit = first_unit_of(region); unit < end; ++unit) {
    const unsigned use = unit_use(unit).load(std::memory_order_relaxed);
    if (is_size_class(use)) {
      const SizeClass c = size_class(use);
      if (slab::first_unit(unit, c) == unit) row.in_use_bytes += slab::at(unit).outside() * slot_size(c);
    } else if (use == static_cast<unsigned>(UnitUse::kLargeHead)) {
      row.in_use_bytes += large::size_of(unit);
    }
  }
}

// Tenants' heaps count where they are.
HeapId place_of(RegionIndex region) { return NodeHeap::at(region_at(region).heap).place(); }

// Of so many regions with committed pages as there are, some pages of each, evenly.
void look_at_pages(NodeRow& row, HeapId place, RegionIndex regions, std::uint64_t with_pages) {
  if (with_pages == 0) return;
  const std::uint64_t per_region = with_pages >= kSampleMost ? 1 : kSampleMost / with_pages;
  const std::uint64_t step = with_pages > kSampleMost ? with_pages / kSampleMost : 1;
  std::uint64_t seen = 0;
  unsigned count = 0;
  for (RegionIndex region = 0; region < regions; ++region) {
    if (place_of(region) != place) continue;
    const std::uint64_t committed = committed_pages(region).count;
    if (committed == 0 || seen++ % step != 0) continue;
    const std::uint64_t page_step = committed / per_region + 1;
    std::uint64_t nth = 0;
    for (unsigned word = 0; word < kPagesPerRegion / 64; ++word) {
      std::uint64_t bits = region_at(region).committed[word].load(std::memory_order_relaxed);
      for (; bits != 0; bits &= bits - 1)
        if (nth++ % page_step == 0 && count < kSampleMost)
          sample[count++] = address_of_page(PageIndex{region} * kPagesPerRegion + word * 64 +
                                            static_cast<unsigned>(std::countr_zero(bits)));
    }
  }
  if (count == 0 || !os::nodes_of_pages({sample, count}, {sample_nodes, count})) return;
  row.looked_at_pages = count;
  const unsigned node = placement::node_of(place);
  for (unsigned i = 0; i < count; ++i) {
    if (sample_nodes[i] < 0) continue;  // not touched yet, or swapped out
    ++row.resident_pages;
    if (static_cast<unsigned>(sample_nodes[i]) == node) ++row.local_pages;
  }
}

}  // namespace

void look_at_nodes(Nodes& nodes) {
  nodes.state = placement::facts().state;
  nodes.count = NodeHeap::places();
  if (nodes.count == 1) return;
  const RegionIndex regions = frontier.regions();
  std::uint64_t with_pages[kPlacesMost] = {};
  for (RegionIndex region = 0; region < regions; ++region) {
    const std::uint64_t committed = committed_pages(region).bytes();
    if (committed == 0) continue;
    const HeapId place = place_of(region);
    ++with_pages[place];
    nodes.rows[place].committed_bytes += committed;
    add_region(nodes.rows[place], region);
  }
  for (unsigned i = 0; i < NodeHeap::count(); ++i) {
    NodeHeap& heap = NodeHeap::at(static_cast<HeapId>(i));
    nodes.rows[heap.place()].traffic.add(heap.traffic());
    nodes.rows[heap.place()].placement_refusals += heap.spans().facts().placement_refusals;
  }
  for (unsigned i = 0; i < nodes.count; ++i) look_at_pages(nodes.rows[i], static_cast<HeapId>(i), regions, with_pages[i]);
}

}  // namespace nebula::stats
