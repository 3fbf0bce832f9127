#include "support/heap_checks.hpp"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <thread>

#include "base/bits.hpp"
#include "budget/account.hpp"
#include "budget/heap_accounts.hpp"
#include "bump/bump.hpp"
#include "config/routes.hpp"
#include "heap/heap.hpp"
#include "heap/routes.hpp"
#include "node_heap/node_heap.hpp"
#include "node_heap/placement.hpp"
#include "os/process.hpp"
#include "pages/region.hpp"
#include "profiling/sampler.hpp"
#include "report/totals.hpp"
#include "spans/frontier.hpp"
#include "spans/large.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula::testing {
namespace {

unsigned nodes_pretended = 1;
constinit thread_local unsigned node_of_thread = kWandering;
constinit thread_local unsigned looks = 0;

HeapId node_here() {
  constexpr unsigned kLooksPerNode = 1000;
  if (node_of_thread != kWandering) return static_cast<HeapId>(node_of_thread);
  return static_cast<HeapId>((thread_token() / 32 + ++looks / kLooksPerNode) % nodes_pretended);
}

unsigned use_of(UnitIndex unit) { return unit_use(unit).load(std::memory_order_relaxed); }

bool is(unsigned use, UnitUse what) { return use == static_cast<unsigned>(what); }

struct Walk {
  std::uint64_t slabs[kClassEnd] = {};
  std::uint64_t empty_slabs[kClassEnd] = {};
  std::uint64_t outside[kClassEnd] = {};
  std::uint64_t large_objects = 0;
  std::uint64_t large_bytes = 0;
  std::uint64_t blocks = 0;
  std::uint64_t block_bytes = 0;
  std::uint64_t committed_bytes = 0;
  std::uint64_t dirty_bytes = 0;  // in units that no span holds
  std::map<const Account*, std::uint64_t> charged = {};  // to accounts of heaps
};

// The head of a block: its count of live objects, however it is kept, and what the bitmaps say.
void check_block(UnitIndex unit, Walk& walk, std::ostream& out) {
  const bump::Block block(unit);
  const bump::Contents contents = bump::contents_of(block);
  std::uint64_t live = block.record().live.load();
  if (const bump::Mine* const owner = block.record().owner.load()) {
    if (owner->head != unit) out << "unit " << unit << ": a block and its owner differ\n";
    live += bump::allocations_of(*owner) - owner->allocations_before - owner->own_frees - bump::kOwned;
  } else if (live == 0) {
    out << "unit " << unit << ": a block that is dead and nobody's\n";
  }
  if (live != contents.live) out << "unit " << unit << ": a block has " << contents.live << " objects and counts " << live << "\n";
  block.for_each_object([&](std::uint32_t start, std::uint32_t end) {
    const std::uint32_t first = start / bump::kGranulesPerPage;
    const std::uint32_t behind = (end + bump::kGranulesPerPage - 1) / bump::kGranulesPerPage;
    if (pages::committed_in(block.pages_between(first, behind)).count != behind - first)
      out << "unit " << unit << ": an object on pages that are not committed\n";
  });
  ++walk.blocks;
  walk.block_bytes += block.units().bytes();
}

bool is_hole(RegionIndex region) {
  if (region_at(region).free_units != 0) return false;
  for (UnitIndex unit = first_unit_of(region); unit < first_unit_of(region + 1); ++unit)
    if (!is(use_of(unit), UnitUse::kNothing)) return false;
  return pages::committed_in(pages::pages_of(region)).count == 0;
}

// Every slot that is outside lies on committed pages; a slab says whether it has clean ones below its mark.
void check_slab(UnitIndex unit, std::ostream& out) {
  const Slab& slab = slab::at(unit);
  const std::size_t size = slot_size(slab.size_class);
  for (unsigned slot = 0; slot < slab.bump; ++slot) {
    if ((slab.bitmap[slot / 64] >> (slot % 64) & 1) != 0) continue;
    const std::size_t first = slot * size / kPageSize;
    const Pages pages = pages_for((slot + 1) * size) - Pages{first};
    if (pages::committed_in({first_page_of(unit) + first, pages}).count != pages.count)
      out << "unit " << unit << ": slot " << slot << " is outside and on pages that are not committed\n";
  }
  const pages::Range used = slab::used_range(unit);
  if (!slab.has_holes && pages::committed_in(used).count != used.count.count) out << "unit " << unit << ": a slab has holes and does not know\n";
  if (slab.is_busy) out << "unit " << unit << ": a slab is busy at rest\n";
}

// How many free units lie on both sides of where a region begins; 0 where no span may go across.
unsigned free_across(const Region& before, const Region& region) {
  const auto below = static_cast<unsigned>(std::countl_one(before.free_units));
  const auto above = static_cast<unsigned>(std::countr_one(region.free_units));
  const bool may = below != 0 && above != 0 && below + above < 2 * kUnitsPerRegion && before.is_huge_tlb == region.is_huge_tlb;
  return may ? below + above : 0;
}

// Whether a region and the one before are of the same part, each record says of the other, and the first what a span across may take.
void check_seam(RegionIndex index, std::ostream& out) {
  const Region& before = region_at(index - 1);
  const Region& region = region_at(index);
  const bool is_same = before.heap == region.heap && before.part == region.part;
  if (before.precedes_own != is_same || region.follows_own != is_same)
    out << "regions " << index - 1 << " and " << index << " are " << (is_same ? "" : "not ") << "of one part, and their records say "
        << before.precedes_own << " and " << region.follows_own << '\n';
  const unsigned seam = is_same ? free_across(before, region) : 0;
  if (before.seam != seam) out << "region " << index - 1 << " ends with " << seam << " free units and says " << unsigned{before.seam} << '\n';
}

void check_units(RegionIndex region, Walk& walk, std::ostream& out) {
  const Region& record = region_at(region);
  std::uint64_t dirty = 0;
  std::uint32_t dirty_units = 0;
  for (unsigned i = 0; i < kUnitsPerRegion; ++i) {
    const UnitIndex unit = first_unit_of(region) + i;
    const unsigned use = use_of(unit);
    const bool is_free = (record.free_units >> i & 1) != 0;
    const std::uint64_t committed = pages::committed_in({first_page_of(unit), {kPagesPerUnit}}).bytes();
    walk.committed_bytes += committed;
    const heap_accounts::Accounts& accounts = heap_accounts::of(record.heap);
    for (const Account* const account : {accounts.node, accounts.thread, accounts.module})
      if (account != nullptr) walk.charged[account] += committed;
    if (is_free) dirty += committed;
    if (is_free && committed != 0) dirty_units |= std::uint32_t{1} << i;
    if (is_free && !is(use, UnitUse::kNothing)) out << "unit " << unit << " is free and used for " << use << "\n";
    if (!is_free && is(use, UnitUse::kNothing) && unit != 0) out << "unit " << unit << " is neither free nor used\n";
    for (unsigned heap = 0; heap < pages::views.load(); ++heap) {
      const bool is_own = record.heap == heap;
      const bool is_whole = heap < pages::whole_views.load();  // a tenant's has its own slabs, and those that were shown to it
      const unsigned seen = view_of(static_cast<HeapId>(heap))[unit].load();
      const bool is_shown = seen != 0 && is_size_class(use) &&
                            (slab::at(slab::first_unit(unit, size_class(use))).seen_by >> heap % 64 & 1) != 0;
      const unsigned expected = !is_size_class(use) ? 0 : is_own ? use : is_whole || is_shown ? use + kAway : 0;
      if (seen != expected)
        out << "unit " << unit << " is used for " << use << " and seen by heap " << heap << " as " << seen << "\n";
    }
    if (is_size_class(use)) {
      const SizeClass c = size_class(use);
      if (slab::first_unit(unit, c) == unit) {
        ++walk.slabs[use];
        if (slab::at(unit).is_empty()) ++walk.empty_slabs[use];
        check_slab(unit, out);
        walk.outside[use] += slab::at(unit).outside();
        if (NodeHeap::heap_of_slab(unit, c) != record.heap) out << "unit " << unit << ": slab and region differ in heap\n";
        if (slab::at(unit).size_class != c) out << "unit " << unit << ": slab and class map differ in class\n";
      } else if (use_of(slab::first_unit(unit, c)) != use) {
        out << "unit " << unit << " is part of a slab that has no start\n";
      }
    } else if (is(use, UnitUse::kLargeHead)) {
      ++walk.large_objects;
      walk.large_bytes += large::size_of(unit);
    } else if (is(use, UnitUse::kBump)) {
      if (bump::record_at(unit).head == unit) check_block(unit, walk, out);
      else if (!is(use_of(bump::record_at(unit).head), UnitUse::kBump)) out << "unit " << unit << " is of no block\n";
    } else if (is(use, UnitUse::kLargeInside)) {
      const UnitIndex head = large::head_of(unit);
      const std::size_t units = units_for(pages_for(large::size_of(head))).count;
      if (!is(use_of(head), UnitUse::kLargeHead) || unit - head >= units)
        out << "unit " << unit << " is inside of no large object\n";
    }
  }
  if (dirty != std::uint64_t{record.dirty_pages} * kPageSize)
    out << "region " << region << " has " << dirty << " dirty bytes and counts " << record.dirty_pages << " pages\n";
  if (dirty_units != record.dirty_units)
    out << "region " << region << " has the dirty units " << std::hex << dirty_units << " and says " << record.dirty_units << std::dec << '\n';
  if ((record.settled_units & ~record.dirty_units) != 0) out << "region " << region << " has settled units that are not dirty\n";
  if (record.is_dirty_listed && dirty == 0) out << "region " << region << " waits for the purge and has nothing for it\n";
  const unsigned run = longest_run(record.free_units);
  if (record.is_listed != (run != 0) || (run != 0 && record.list != run))
    out << "region " << region << " has " << run << " free units side by side and is listed with " << unsigned{record.list} << '\n';
  walk.dirty_bytes += dirty;
}

template <class A, class B>
void compare(std::ostream& out, const char* what, const A& a, const B& b) {
  if (a != b) out << what << ": " << a << " and " << b << "\n";
}

void check_class(unsigned i, const Walk& walk, std::ostream& out) {
  const SizeClass c = size_class(i);
  const NodeHeap::ClassFacts facts = NodeHeap::facts_of_all(c);
  const thread_heap::PoolFacts pools = thread_heap::pool_facts(c);
  const std::uint64_t live_by_place = facts.slots_outside - facts.in_depots - pools.pooled;
  const std::uint64_t live_by_calls =
      pools.allocations + facts.direct_allocations - pools.frees - facts.direct_frees + facts.dropped;
  std::ostringstream words;
  compare(words, "live slots by place and by calls", live_by_place, live_by_calls);
  compare(words, "slots outside by slabs and by count", walk.outside[i], facts.slots_outside);
  compare(words, "slabs by class map and by count", walk.slabs[i], facts.slabs);
  compare(words, "empty slabs by their bitmaps and by count", walk.empty_slabs[i], facts.empty_slabs);
  if (!words.str().empty()) out << "class " << i << " (" << slot_size(c) << " bytes): " << words.str();
}

constexpr std::uint64_t kMix = 0x9e3779b97f4a7c15;
// Above this, a word in every such stretch is checked instead of every byte.
constexpr std::size_t kDense = 64 * kKiB;
constexpr std::size_t kStride = 512;

template <class Visitor>
void for_each_word_of_pattern(std::size_t size, std::uint64_t key, Visitor visit) {
  const auto value_at = [key](std::size_t offset) { return (offset + 1) * kMix ^ key; };
  std::size_t offset = 0;
  for (; offset + 8 <= size; offset += offset < kDense ? 8 : kStride)
    if (!visit(offset, std::size_t{8}, value_at(offset))) return;
  if (size < kDense && offset < size) visit(offset, size - offset, value_at(offset));
}

// TEST_ROUTE: what NEBULA_ROUTE may be, or "moving": the classes begin in pools, and move_a_class moves them.
void set_routes_asked_for() {
  const char* const route = std::getenv("TEST_ROUTE");
  if (route == nullptr) return;
  config::Routes routes;
  const char* const limit = std::getenv("TEST_ROUTE_BUMP_LIMIT");
  if (!config::parse_routes(classes_move() ? "32768:bump" : route, routes)) std::abort();
  heap::set_routes(routes, limit == nullptr ? 256 * kMiB : std::strtoull(limit, nullptr, 10));
}

}  // namespace

void pretend_nodes(unsigned count) { nodes_pretended = count; }
void run_on_node(unsigned node) { node_of_thread = node; }

void on_node(unsigned node, const std::function<void()>& work) {
  std::thread([&] {
    run_on_node(node);
    work();
    heap::flush_this_thread();
  }).join();
}

void start_heap() {
  static const bool started = [] {
    const char* const nodes = std::getenv("TEST_NODES");
    if (nodes != nullptr && std::strcmp(nodes, "machine") == 0 && nodes_pretended == 1) {
      if (!heap::start()) return false;
      placement::start({});
      return placement::facts().state == placement::State::kInForce;
    }
    if (nodes != nullptr && nodes_pretended == 1) nodes_pretended = static_cast<unsigned>(std::atoi(nodes));
    const bool has_heap = heap::start();
    if (nodes_pretended < 2) return true;  // a test may have planned that there is no heap
    return has_heap && placement::start_with(nodes_pretended, node_here);
  }();
  if (!started) std::abort();
  static const bool routed = (set_routes_asked_for(), true);
  static_cast<void>(routed);
  if (const char* const kind = std::getenv("TEST_PURGE_KIND"); kind != nullptr) {
    config::PagePolicy policy;
    if (!config::parse_purge_kind(kind, policy) || !config::parse_purge("now", policy)) std::abort();
    heap::set_page_policy(policy);
  }
  heap::watch_thread_exits();
  // The same tests while a profile is taken: meson.build runs some a second time so.
  if (const char* const period = std::getenv("TEST_PROFILE_PERIOD"); period != nullptr && !profiling::is_on())
    if (!heap::begin_profile(std::strtoull(period, nullptr, 10))) std::abort();
}

bool classes_move() {
  static const char* const route = std::getenv("TEST_ROUTE");
  return route != nullptr && std::strcmp(route, "moving") == 0;
}

void move_a_class(std::uint64_t number) {
  constexpr unsigned kRoutes = 3;
  const SizeClass c = size_class(static_cast<unsigned>(kClassFirst + number / kRoutes % (kClassEnd - kClassFirst)));
  heap::routes::move(c, static_cast<heap::routes::Route>(number % kRoutes));
}

Live live() {
  const report::Totals totals = report::totals();
  return {totals.live_objects, totals.live_bytes};
}

std::uint64_t window_beside() { return os::coarse_milliseconds() >> 7; }

void await_window_beside() {
  for (const std::uint64_t before = window_beside(); window_beside() == before;) std::this_thread::yield();
}

std::string inconsistency() {
  std::ostringstream out;
  Walk walk;
  std::uint64_t dirty_bytes = 0;
  for (unsigned heap = 0; heap < NodeHeap::count(); ++heap)
    dirty_bytes += NodeHeap::at(static_cast<HeapId>(heap)).spans().facts().dirty_bytes;
  for (RegionIndex region = 0; region < frontier.regions(); ++region)
    if (!is_hole(region)) check_units(region, walk, out);
  for (RegionIndex region = 1; region < frontier.regions(); ++region)
    if (!is_hole(region - 1) && !is_hole(region)) check_seam(region, out);
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) check_class(i, walk, out);
  const large::Counts large = large::counts();
  compare(out, "large objects by class map and by calls", walk.large_objects, large.allocations - large.frees);
  compare(out, "large bytes by class map and by calls", walk.large_bytes, large.live_bytes);
  compare(out, "blocks by class map and by count", walk.blocks, bump::block_counts().blocks);
  compare(out, "bytes of blocks by class map and by count", walk.block_bytes, bump::block_counts().bytes);
  compare(out, "dirty bytes by pages and by count", walk.dirty_bytes, dirty_bytes);
  compare(out, "committed bytes by pages with metadata and by account", walk.committed_bytes + pages::metadata_bytes(),
          process_account.committed());
  for (unsigned heap = 0; heap < NodeHeap::count(); ++heap) {
    const heap_accounts::Accounts& accounts = heap_accounts::of(static_cast<HeapId>(heap));
    for (const Account* const account : {accounts.node, accounts.thread, accounts.module})
      if (account != nullptr) compare(out, "committed bytes by a heap's pages and by its account", walk.charged[account], account->committed());
  }
  const report::Totals totals = report::totals();
  compare(out, "committed bytes in the report's ladder and by account",
          totals.live_bytes + totals.pooled_bytes + totals.depot_bytes + totals.slab_free_bytes + totals.dirty_bytes +
              totals.metadata_bytes,
          process_account.committed());
  compare(out, "large live bytes in the report and by class map", totals.large_live_bytes, walk.large_bytes);
  return out.str();
}

std::size_t Random::size() {
  const std::uint64_t shape = below(1000);
  if (shape < 700) return below(257);
  if (shape < 900) return below(2049);
  if (shape < 980) return below(32 * kKiB + 1);
  if (shape < 998) return below(256 * kKiB);
  return below(4 * kMiB);
}

void fill_as(void* object, std::size_t size, std::uint64_t key) {
  for_each_word_of_pattern(size, key, [object](std::size_t offset, std::size_t bytes, std::uint64_t value) {
    std::memcpy(static_cast<char*>(object) + offset, &value, bytes);
    return true;
  });
}

bool is_filled_as(const void* object, std::size_t size, std::uint64_t key) {
  bool same = true;
  for_each_word_of_pattern(size, key, [&](std::size_t offset, std::size_t bytes, std::uint64_t value) {
    same = std::memcmp(static_cast<const char*>(object) + offset, &value, bytes) == 0;
    return same;
  });
  return same;
}

void fill(void* object, std::size_t size) { fill_as(object, size, reinterpret_cast<Address>(object) ^ size); }

bool is_filled(const void* object, std::size_t size) {
  return is_filled_as(object, size, reinterpret_cast<Address>(object) ^ size);
}

}  // namespace nebula::testing
