// How node heaps come to be: places at the start, tenants' while others run, and the views that tell their slots apart.
#include "base/bits.hpp"
#include "node_heap/node_heap.hpp"
#include "spans/frontier.hpp"

namespace nebula {

bool NodeHeap::make(unsigned count) {
  constexpr std::size_t kBytes = round_up(sizeof(NodeHeap) + SpanHeap::bytes(), kPageSize);
  if (count == 0 || pages::views.load(std::memory_order_relaxed) != 0) return false;
  const std::size_t bytes = (count - 1) * kBytes;
  if (!pages::commit_metadata(bytes)) return false;
  for (unsigned i = 1; i < count; ++i) {
    const auto id = static_cast<HeapId>(i);
    if (!pages::map_piece(record_map.node_heaps + id * kNodeHeapBytes, kBytes)) {
      pages::uncommit_metadata(bytes);
      return false;
    }
    NodeHeap& heap = at(id);  // as the kernel gives it: all its locks are of rank 0
    heap.id_ = heap.place_ = id;
    SpanHeap::begin_at(&heap + 1, id);
  }
  if (!begin_views([count](std::size_t units) { return pages::begin_views(count, units); })) {
    pages::views.store(0, std::memory_order_relaxed);
    pages::whole_views.store(0, std::memory_order_relaxed);
    pages::uncommit_metadata(bytes);
    return false;
  }
  places_.store(count, std::memory_order_relaxed);
  heaps_.store(count, std::memory_order_release);
  return true;
}

bool NodeHeap::add_view_of_none() {
  const bool had_views = pages::views.load(std::memory_order_relaxed) != 0;
  if (!had_views && !make(1)) return false;
  if (begin_views([](std::size_t units) { return pages::begin_view_of_none(units); })) return true;
  pages::has_view_of_none.store(false, std::memory_order_relaxed);
  return false;
}

// Makes views and writes in them what there is. No slab comes or goes meanwhile, and nothing grows.
template <class Begin>
bool NodeHeap::begin_views(Begin begin) {
  while (!frontier.try_hold()) frontier.wait();
  lock_all();
  const bool good = begin(heap_map.mapped_units.load(std::memory_order_relaxed)) && frontier.charge_records(frontier.regions());
  const std::size_t units = good ? heap_map.mapped_units.load(std::memory_order_relaxed) : 0;
  for (UnitIndex unit = 0; unit < units; ++unit) {
    const unsigned use = unit_use(unit).load(std::memory_order_relaxed);
    if (is_size_class(use)) of(unit).set_class(unit, 1, size_class(use));
  }
  unlock_all();
  frontier.release();
  return good;
}

// What a tenant's heap touches of its place: its one shard, and of its spans what is not charged with the regions.
HeapId NodeHeap::add_tenant(HeapId place, HasDepots has_depots) {
  constexpr std::size_t kBytes = round_up(sizeof(NodeHeap) + SpanHeap::bytes(), kPageSize);
  constexpr std::size_t kTouched = kBytes - (kShards - 1) * (sizeof classes_[0] + sizeof depots_[0]) - sizeof(SpanHeap::Room);
  constexpr std::size_t kCharged = round_up(kTouched, kPageSize) + 3 * kPageSize;  // the three pieces begin within pages
  const auto id = static_cast<HeapId>(count());
  if (id >= kNodeHeapsMost || !pages::commit_metadata(kCharged)) return kNoHeap;
  while (!frontier.try_hold()) frontier.wait();
  // A fork may have left this place mapped and its heap unmade.
  const Address place_of_heap = record_map.node_heaps + id * kNodeHeapBytes;
  const bool is_mapped = pages::map_piece(place_of_heap, kBytes) || os::is_readable(place_of_heap);
  const unsigned views_before = pages::views.load(std::memory_order_relaxed);
  bool good = is_mapped;
  if (good && views_before == id) {
    good = pages::add_view(heap_map.mapped_units.load(std::memory_order_relaxed)) && frontier.charge_records(frontier.regions());
    if (!good) pages::views.store(views_before, std::memory_order_relaxed);
  }
  frontier.release();
  if (!good) {
    pages::uncommit_metadata(kCharged);
    return kNoHeap;
  }
  NodeHeap& heap = at(id);
  heap.id_ = id;
  heap.place_ = place;
  heap.has_depots_ = has_depots;
  SpanHeap& spans = SpanHeap::begin_at(&heap + 1, id);
  spans.set_placement(at(place).spans().placement());
  heaps_.store(id + 1u, std::memory_order_release);  // pairs with the acquire in count()
  return id;
}

}  // namespace nebula
