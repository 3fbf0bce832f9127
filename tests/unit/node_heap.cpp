#include "node_heap/node_heap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "diag/misuse.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

using Source = NodeHeap::Source;

std::size_t purge_slab_pages() {
  return NodeHeap::purge_slab_pages(~std::size_t{0}, [](HeapId, const Account*) { return true; }, nullptr);
}

std::vector<void*> refill(SizeClass c, unsigned wanted, Source source, unsigned shard = 0) {
  node_heap.open(static_cast<NodeHeap::Shard>(shard % NodeHeap::kShards));
  std::vector<void*> slots(wanted + 4);
  const unsigned got =
      node_heap.refill(c, slots.data() + slots.size(), wanted, static_cast<unsigned>(slots.size()), source, static_cast<NodeHeap::Shard>(shard % NodeHeap::kShards));
  slots.erase(slots.begin(), slots.end() - got);
  return slots;
}

void flush(SizeClass c, const std::vector<void*>& slots, Source source) {
  node_heap.flush(c, slots.data(), static_cast<unsigned>(slots.size()), source, "free");
}

TEST(NodeHeap, SlotsGoOutOnceAndSlabsGoBack) {
  testing::start_heap();
  for (unsigned i : {1u, 2u, 20u, 64u, 80u, kClassLast}) {
    const SizeClass c = size_class(i);
    std::set<void*> seen;
    std::vector<std::vector<void*>> held;
    while (seen.size() < 5u * slots_per_slab(c)) {
      held.push_back(refill(c, 50, Source::kSlabsOnly));
      ASSERT_FALSE(held.back().empty());
      for (void* const slot : held.back()) ASSERT_TRUE(seen.insert(slot).second);
    }
    EXPECT_EQ(node_heap.facts(c).slots_outside, seen.size());
    EXPECT_GE(node_heap.facts(c).slabs, 5u);
    for (const auto& slots : held) flush(c, slots, Source::kSlabsOnly);
    EXPECT_EQ(node_heap.facts(c).slots_outside, 0u);
    EXPECT_GE(node_heap.facts(c).slabs, 5u) << "until somebody needs them";
    EXPECT_TRUE(node_heap.release_spare_slabs());
    EXPECT_LE(node_heap.facts(c).slabs, 1u);
    EXPECT_FALSE(node_heap.release_spare_slabs());
    node_heap.release_empty_slabs();
    EXPECT_EQ(node_heap.facts(c).slabs, 0u);
  }
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(NodeHeap, ASpareThatGivesSlotsStays) {
  testing::start_heap();
  const SizeClass c = size_class(21);
  node_heap.release_empty_slabs();
  for (int look = 0; look < 3; ++look) {
    flush(c, refill(c, 20, Source::kSlabsOnly), Source::kSlabsOnly);
    node_heap.release_idle_spare_slabs();
    EXPECT_EQ(node_heap.facts(c).slabs, 1u) << "look " << look;
  }
  node_heap.release_idle_spare_slabs();
  EXPECT_EQ(node_heap.facts(c).slabs, 0u) << "nobody has needed it since";
  EXPECT_EQ(testing::inconsistency(), "");
}

std::vector<void*> slabs_full(SizeClass c, unsigned slabs, unsigned shard) {
  std::vector<void*> slots;
  while (slots.size() < std::size_t{slabs} * slots_per_slab(c)) {
    const std::vector<void*> more = refill(c, 50, Source::kSlabsOnly, shard);
    if (more.empty()) return slots;
    slots.insert(slots.end(), more.begin(), more.end());
  }
  return slots;
}

// Nothing is free: neither in a slab nor in spans.
void give_back_all() {
  node_heap.drain_depots(NodeHeap::Depots::kAll);
  node_heap.release_empty_slabs();
  node_heap.spans().purge(SpanHeap::Purge::kEverything);
}

// What is empty is used before new memory, whoever needs it: the class itself, another, another shard, a span.
TEST(NodeHeap, EmptySlabsServeWhoNeedsMemory) {
  testing::start_heap();
  const SizeClass c = size_class(20);
  const SizeClass as_long = size_class(22);
  const SizeClass longer = size_class(class_index_for(28 * kKiB));
  ASSERT_EQ(units_per_slab(c), units_per_slab(as_long));
  ASSERT_LT(units_per_slab(c), units_per_slab(longer));
  constexpr unsigned kSlabs = 24;
  struct Need {
    SizeClass c;
    unsigned slabs;
    unsigned shard;
  };
  for (const Need& need : {Need{c, kSlabs, 0}, Need{as_long, kSlabs - 2, 0}, Need{as_long, kSlabs - 2, 1}, Need{longer, 5, 0}, Need{longer, 5, 1}}) {
    give_back_all();
    flush(c, slabs_full(c, kSlabs, 0), Source::kSlabsOnly);
    EXPECT_GE(node_heap.facts(c).slabs, kSlabs - 1);
    const std::uint64_t dirty = node_heap.spans().dirty_bytes();
    const std::uint64_t committed = process_account.committed();
    const std::vector<void*> slots = slabs_full(need.c, need.slabs, need.shard);
    // The tail of the last unit of a slab may hold no slot of one class and one of another.
    EXPECT_LE(process_account.committed(), committed + need.slabs * kPageSize + 2 * units_per_slab(need.c) * kUnitSize)
        << slot_size(need.c) << " in shard " << need.shard;
    EXPECT_LE(dirty, 2 * kUnitSize);
    flush(need.c, slots, Source::kSlabsOnly);
  }
  give_back_all();
  flush(c, slabs_full(c, kSlabs, 0), Source::kSlabsOnly);
  const std::uint64_t committed = process_account.committed();
  const UnitIndex span = node_heap.spans().take({kSlabs / 2}, {1});
  ASSERT_NE(span, kNoUnit);
  EXPECT_EQ(node_heap.facts(c).slabs, 0u);
  EXPECT_GE(pages::committed_in(pages::pages_of(span, {kSlabs / 2})).bytes(), kSlabs / 2 * (kUnitSize - kPageSize));
  EXPECT_EQ(process_account.committed(), committed);
  node_heap.spans().give_back(span, {kSlabs / 2});
  give_back_all();
  EXPECT_EQ(testing::inconsistency().find("unit "), std::string::npos);
}

TEST(NodeHeap, BatchesTravelThroughTheDepot) {
  testing::start_heap();
  const SizeClass c = size_class(4);
  const unsigned batch = kSizeClasses.batch[4];
  std::vector<void*> slots = refill(c, batch, Source::kSlabsOnly);
  const std::uint64_t outside = node_heap.facts(c).slots_outside;
  flush(c, slots, Source::kDepotFirst);
  EXPECT_EQ(node_heap.facts(c).in_depots, batch);
  EXPECT_EQ(node_heap.facts(c).slots_outside, outside - (slots.size() - batch)) << "in the depot is outside of slabs";
  const std::vector<void*> back = refill(c, batch, Source::kDepotFirst);
  EXPECT_EQ(back.size(), batch);
  EXPECT_EQ(std::set<void*>(back.begin(), back.end()), std::set<void*>(slots.begin(), slots.begin() + batch));
  flush(c, back, Source::kDepotFirst);
  node_heap.drain_depots(NodeHeap::Depots::kAll);
  EXPECT_EQ(node_heap.facts(c).in_depots, 0u);
  EXPECT_EQ(node_heap.facts(c).slots_outside, 0u);
  EXPECT_EQ(testing::inconsistency(), "");
}

UnitIndex slab_of(const void* slot, SizeClass c) { return slab::first_unit(static_cast<UnitIndex>(unit_of(slot)), c); }

TEST(NodeHeap, ShardsShareNoSlabAndEachGetsItsOwnBack) {
  testing::start_heap();
  const SizeClass c = size_class(9);
  std::vector<void*> mixed;
  std::set<UnitIndex> slabs[2];
  for (int round = 0; round < 20; ++round) {
    for (unsigned shard : {0u, 1u}) {
      for (void* const slot : refill(c, 30, Source::kSlabsOnly, shard)) {
        slabs[shard].insert(slab_of(slot, c));
        mixed.push_back(slot);
      }
    }
  }
  for (const UnitIndex unit : slabs[0]) EXPECT_FALSE(slabs[1].contains(unit));
  // Slots of two shards in turn, more than wait for another lock at a time.
  const std::size_t half = mixed.size() / 2;
  std::vector<void*> woven;
  for (std::size_t i = 0; i < half; ++i) woven.insert(woven.end(), {mixed[i], mixed[half + i]});
  woven.insert(woven.begin() + 100, woven[3]);  // and one of them twice
  misuse::set_action(misuse::Action::kWarn);
  const std::uint64_t dropped = node_heap.facts(c).dropped;
  flush(c, woven, Source::kSlabsOnly);
  misuse::set_action(misuse::Action::kAbort);
  EXPECT_EQ(node_heap.facts(c).dropped, dropped + 1);
  EXPECT_EQ(node_heap.facts(c).slots_outside, 0u);
  for (unsigned shard : {0u, 1u}) {
    const std::vector<void*> again = refill(c, 30, Source::kSlabsOnly, shard);
    EXPECT_TRUE(slabs[shard].contains(slab_of(again[0], c)));
    flush(c, again, Source::kSlabsOnly);
  }
}

TEST(NodeHeap, AShardTakesOverWhatAnotherHasPlentyOf) {
  testing::start_heap();
  give_back_all();
  const SizeClass c = size_class(21);
  std::vector<void*> slots;
  while (slots.size() < slots_per_slab(c)) {
    const std::vector<void*> more = refill(c, slots_per_slab(c) - static_cast<unsigned>(slots.size()), Source::kSlabsOnly, 2);
    slots.insert(slots.end(), more.begin(), more.end());
  }
  const std::size_t full = slots.size();
  const auto free = [&](std::size_t count) {
    flush(c, {slots.end() - static_cast<std::ptrdiff_t>(count), slots.end()}, Source::kSlabsOnly);
    slots.resize(slots.size() - count);
  };
  const NodeHeap::ClassFacts before = node_heap.facts(c);
  free(full / 8);
  const std::vector<void*> fresh = refill(c, 1, Source::kSlabsOnly, 3);
  EXPECT_EQ(node_heap.facts(c).takeovers, before.takeovers) << "an eighth is not worth it";
  EXPECT_EQ(node_heap.facts(c).slabs, before.slabs + 1);
  free(full / 4);
  // Before new memory, but not before memory that is nobody's.
  const UnitIndex dirty = node_heap.spans().take({1}, {1});
  ASSERT_TRUE(pages::commit({first_page_of(dirty), {1}}, Account::Reserve::kMustLeave));
  node_heap.spans().give_back(dirty, {1});
  std::vector<void*> rest = refill(c, slots_per_slab(c) - 1, Source::kSlabsOnly, 3);
  EXPECT_EQ(node_heap.facts(c).takeovers, before.takeovers);
  while (node_heap.facts(c).takeovers == before.takeovers) {
    const std::vector<void*> more = refill(c, 50, Source::kSlabsOnly, 3);
    ASSERT_FALSE(more.empty());
    rest.insert(rest.end(), more.begin(), more.end());
  }
  EXPECT_EQ(node_heap.facts(c).slabs, before.slabs + 2) << "taken over before another was added";
  EXPECT_EQ(slab_of(rest.back(), c), slab_of(slots[0], c));
  EXPECT_EQ(node_heap.facts(c).slots_outside, slots.size() + fresh.size() + rest.size());
  flush(c, fresh, Source::kSlabsOnly);
  flush(c, rest, Source::kSlabsOnly);
  flush(c, slots, Source::kSlabsOnly);
  EXPECT_EQ(node_heap.facts(c).slots_outside, 0u);
  EXPECT_EQ(testing::inconsistency().find("class 21 "), std::string::npos);
}

// An empty slab in another part's region is its class's still; for another class it goes back to where it is from, but where memory is short.
void use_emptied_slab_of_anothers(bool is_memory_short) {
  testing::start_heap();
  give_back_all();
  node_heap.open(static_cast<NodeHeap::Shard>(3));
  const SizeClass c = size_class(21);
  const SizeClass as_long = size_class(22);
  std::vector<void*> slots = slabs_full(c, 10, 2);  // so that what the other has is few of what there is
  const UnitIndex slab = slab_of(slots.back(), c);
  ASSERT_EQ(part_of(slab), 2u);
  const std::vector<void*> kept = {slots.back()};
  slots.pop_back();
  const auto of_slab = std::partition(slots.begin(), slots.end(), [&](void* slot) { return slab_of(slot, c) != slab; });
  flush(c, {of_slab, slots.end()}, Source::kSlabsOnly);
  slots.erase(of_slab, slots.end());
  node_heap.release_empty_slabs();
  node_heap.spans().purge(SpanHeap::Purge::kEverything);
  testing::await_window_beside();
  const std::uint64_t takeovers = node_heap.facts(c).takeovers;
  const std::vector<void*> taken_over = refill(c, 20, Source::kSlabsOnly, 3);
  ASSERT_EQ(node_heap.facts(c).takeovers, takeovers + 1);
  ASSERT_EQ(slab_of(taken_over[0], c), slab);
  flush(c, taken_over, Source::kSlabsOnly);
  flush(c, kept, Source::kSlabsOnly);
  const std::vector<void*> again = refill(c, 20, Source::kSlabsOnly, 3);
  EXPECT_EQ(slab_of(again[0], c), slab) << "it is the class's still";
  flush(c, again, Source::kSlabsOnly);
  testing::await_window_beside();
  const std::uint64_t window = testing::window_beside();
  for (int i = 0; i < 64; ++i) node_heap.spans().note_taken_beside(3);
  if (is_memory_short) process_account.set_limits(process_account.committed() + process_account.committed() / 16, kNoLimit);
  const std::vector<void*> others = refill(as_long, 20, Source::kSlabsOnly, 3);
  process_account.set_limits(kNoLimit, kNoLimit);
  if (is_memory_short) {
    EXPECT_EQ(slab_of(others[0], as_long), slab);
  } else if (testing::window_beside() == window) {
    EXPECT_EQ(part_of(slab_of(others[0], as_long)), 3u);
    EXPECT_EQ(unit_use(slab).load(std::memory_order_relaxed), static_cast<unsigned>(UnitUse::kNothing));
    EXPECT_NE(node_heap.spans().dirty_bytes(), 0u);
  }
  flush(as_long, others, Source::kSlabsOnly);
  flush(c, slots, Source::kSlabsOnly);
  EXPECT_EQ(testing::inconsistency().find("unit "), std::string::npos);
}

TEST(NodeHeap, AnEmptySlabOfAnothersRegionGoesHome) { use_emptied_slab_of_anothers(false); }
TEST(NodeHeap, AnEmptySlabOfAnothersRegionStaysWhereMemoryIsShort) { use_emptied_slab_of_anothers(true); }

// What shard 3 takes over from 2, which has so many eighths of each of its slabs to spare, for as many slots as `wanted` slabs have; and in
// how many windows.
struct TakenOver {
  std::uint64_t slabs;
  std::uint64_t windows;
};
TakenOver take_over(SizeClass c, unsigned eighths, unsigned wanted, bool is_near_limit) {
  constexpr unsigned kSlabs = 300;
  give_back_all();
  std::vector<void*> held;
  std::vector<void*> spare;
  const std::vector<void*> all = slabs_full(c, kSlabs, 2);
  for (std::size_t i = 0; i < all.size(); ++i) (i * 3 % 8 < eighths ? spare : held).push_back(all[i]);
  flush(c, spare, Source::kSlabsOnly);
  const NodeHeap::ClassFacts before = node_heap.facts(c);
  testing::await_window_beside();
  const std::uint64_t begun = testing::window_beside();
  if (is_near_limit) process_account.set_limits(process_account.committed() + process_account.committed() / 16, kNoLimit);
  while (node_heap.facts(c).slots_outside - before.slots_outside < wanted * slots_per_slab(c) * eighths / 8) {
    const std::vector<void*> more = refill(c, 50, Source::kSlabsOnly, 3);
    if (more.empty()) break;
    held.insert(held.end(), more.begin(), more.end());
  }
  process_account.set_limits(kNoLimit, kNoLimit);
  const TakenOver result = {node_heap.facts(c).takeovers - before.takeovers, testing::window_beside() - begun + 1};
  flush(c, held, Source::kSlabsOnly);
  EXPECT_EQ(node_heap.facts(c).slots_outside, 0u);
  return result;
}

TEST(NodeHeap, SlabsOfSmallSlotsAreTakenOverSeldom) {
  testing::start_heap();
  for (const std::size_t size : {std::size_t{64}, kKiB}) {
    const SizeClass c = size_class(class_index_for(size));
    const TakenOver seldom = take_over(c, 3, 100, false);
    EXPECT_GE(seldom.slabs, 64u) << size;
    EXPECT_LE(seldom.slabs, 64 * seldom.windows) << size;
    EXPECT_GE(take_over(c, 3, 100, true).slabs, 100u) << size << ": what is paid for comes first";
    EXPECT_GE(take_over(c, 7, 100, false).slabs, 100u) << size << ": more than half of what is committed";
  }
  EXPECT_GE(take_over(size_class(class_index_for(2 * kKiB)), 3, 100, false).slabs, 100u);
  EXPECT_EQ(testing::inconsistency().find("unit "), std::string::npos);
}

TEST(NodeHeap, AtTheLimitEveryShardGivesWhatItHas) {
  testing::start_heap();
  const SizeClass c = size_class(33);
  std::vector<void*> slots = refill(c, 8, Source::kSlabsOnly, 4);
  flush(c, {slots[0]}, Source::kSlabsOnly);
  node_heap.release_empty_slabs();
  node_heap.spans().purge(SpanHeap::Purge::kEverything);
  process_account.set_limits(process_account.committed(), kNoLimit);
  const std::vector<void*> got = refill(c, 1, Source::kSlabsOnly, 5);
  process_account.set_limits(kNoLimit, kNoLimit);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0], slots[0]);
  flush(c, slots, Source::kSlabsOnly);
}

TEST(NodeHeap, MisuseIsCountedAndDropped) {
  testing::start_heap();
  misuse::set_action(misuse::Action::kWarn);
  const SizeClass c = size_class(6);
  std::vector<void*> slots = refill(c, 10, Source::kSlabsOnly);
  std::vector<void*> wrong = slots;
  wrong.insert(wrong.begin() + 3, slots[0]);                            // twice in one flush
  wrong.insert(wrong.begin() + 5, static_cast<char*>(slots[1]) + 8);    // inside of one
  const std::uint64_t doubles = misuse::counts.double_frees.load();
  const std::uint64_t invalid = misuse::counts.invalid_frees.load();
  const std::uint64_t dropped = node_heap.facts(c).dropped;
  flush(c, wrong, Source::kSlabsOnly);
  EXPECT_EQ(misuse::counts.double_frees.load(), doubles + 1);
  EXPECT_EQ(misuse::counts.invalid_frees.load(), invalid + 1);
  EXPECT_EQ(node_heap.facts(c).dropped, dropped + 2);
  EXPECT_EQ(node_heap.facts(c).slots_outside, 0u);
  misuse::set_action(misuse::Action::kAbort);
}

TEST(NodeHeap, TailsBehindMarksArePurged) {
  testing::start_heap();
  const SizeClass c = size_class(class_index_for(kKiB));
  // A slab from dirty memory: committed behind its mark.
  const UnitIndex unit = node_heap.spans().take({8}, {8});
  ASSERT_TRUE(pages::commit({first_page_of(unit), {8 * kPagesPerUnit}}));
  node_heap.spans().give_back(unit, {8});
  const std::vector<void*> slots = refill(c, 1, Source::kSlabsOnly);
  node_heap.spans().purge(SpanHeap::Purge::kEverything);
  const std::uint64_t before = process_account.committed();
  const std::size_t purged = purge_slab_pages();
  EXPECT_EQ(process_account.committed(), before - purged);
  EXPECT_EQ(purge_slab_pages(), 0u);
  EXPECT_EQ(testing::inconsistency().find("slots outside"), std::string::npos);
  flush(c, slots, Source::kSlabsOnly);
}

// Of a full slab nothing but one slot in eight pages is left.
std::vector<void*> sparse_slab(SizeClass c) {
  std::vector<void*> slots = refill(c, slots_per_slab(c), Source::kSlabsOnly);
  EXPECT_EQ(slots.size(), slots_per_slab(c));
  std::vector<void*> kept;
  std::vector<void*> back;
  for (void* const slot : slots)
    (reinterpret_cast<Address>(slot) % (8 * kPageSize) == 0 ? kept : back).push_back(slot);
  flush(c, back, Source::kSlabsOnly);
  return kept;
}

TEST(NodeHeap, PagesThatHoldNothingArePurgedFromSlabsInUse) {
  testing::start_heap();
  const SizeClass c = size_class(class_index_for(kKiB));
  const std::vector<void*> kept = sparse_slab(c);
  ASSERT_EQ(kept.size(), 2u);
  for (void* const slot : kept) *static_cast<void**>(slot) = slot;
  node_heap.spans().purge(SpanHeap::Purge::kEverything);
  const std::uint64_t before = process_account.committed();
  EXPECT_EQ(purge_slab_pages(), 14 * kPageSize);
  EXPECT_EQ(process_account.committed(), before - 14 * kPageSize);
  EXPECT_EQ(testing::inconsistency().find("unit "), std::string::npos);
  for (void* const slot : kept) EXPECT_EQ(*static_cast<void**>(slot), slot);
  // What has no holes gives first.
  const std::vector<void*> fresh = refill(c, 1, Source::kSlabsOnly);
  EXPECT_EQ(slab_of(fresh[0], c), slab_of(kept[0], c)) << "its own pages' slots, before new memory";
  EXPECT_EQ(process_account.committed(), before - 14 * kPageSize);
  flush(c, fresh, Source::kSlabsOnly);
  flush(c, kept, Source::kSlabsOnly);
  node_heap.release_empty_slabs();
  EXPECT_EQ(testing::inconsistency().find("unit "), std::string::npos);
}

// At a limit slabs with holes have free slots and give none. Two threads that take them over from each other would never end.
TEST(NodeHeap, SlabsThatGiveNothingAreNotTakenOverInTurn) {
  testing::start_heap();
  give_back_all();
  const SizeClass c = size_class(class_index_for(kKiB));
  std::vector<void*> kept;
  std::vector<void*> back;
  for (void* const slot : slabs_full(c, 20, 0)) (reinterpret_cast<Address>(slot) % (8 * kPageSize) == 0 ? kept : back).push_back(slot);
  flush(c, back, Source::kSlabsOnly);
  node_heap.spans().purge(SpanHeap::Purge::kEverything);
  purge_slab_pages();
  // What lies on the pages that are left, so that there are but holes.
  process_account.set_limits(process_account.committed(), kNoLimit);
  for (std::vector<void*> more; !(more = refill(c, 1, Source::kSlabsOnly)).empty();) kept.insert(kept.end(), more.begin(), more.end());
  const std::uint64_t takeovers = node_heap.facts(c).takeovers;
  for (const unsigned shard : {1u, 0u, 1u}) EXPECT_TRUE(refill(c, 1, Source::kSlabsOnly, shard).empty());
  EXPECT_LE(node_heap.facts(c).takeovers, takeovers + 3);
  std::vector<std::thread> threads;
  for (const unsigned shard : {0u, 1u}) {
    threads.emplace_back([shard] {
      for (int n = 0; n < 1'000; ++n) EXPECT_TRUE(refill(c, 1, Source::kSlabsOnly, shard).empty());
    });
  }
  for (std::thread& thread : threads) thread.join();
  process_account.set_limits(kNoLimit, kNoLimit);
  flush(c, kept, Source::kSlabsOnly);
  give_back_all();
  EXPECT_EQ(testing::inconsistency().find("unit "), std::string::npos);
}

TEST(NodeHeap, OnlyQuietSlabsArePurgedOnALook) {
  testing::start_heap();
  const SizeClass c = size_class(class_index_for(kKiB));
  const std::vector<void*> kept = sparse_slab(c);
  const auto look = [] {
    std::size_t sum = 0;
    std::size_t purged = 0;
    UnitIndex unit = 0;
    bool is_last = false;
    while (!is_last) {
      is_last = NodeHeap::purge_quiet_slabs(unit, purged);
      sum += purged;
    }
    return sum;
  };
  EXPECT_EQ(look(), 0u) << "the first look notes";
  const std::vector<void*> taken = refill(c, 1, Source::kSlabsOnly);
  EXPECT_EQ(look(), 0u) << "it gave something since";
  EXPECT_EQ(look(), 14 * kPageSize);
  EXPECT_EQ(look(), 0u);
  flush(c, taken, Source::kSlabsOnly);
  // Less than a quarter of a slab is not worth it.
  const std::vector<void*> dense = refill(c, slots_per_slab(c), Source::kSlabsOnly);
  std::vector<void*> back;
  for (void* const slot : dense)
    if (reinterpret_cast<Address>(slot) % (16 * kPageSize) < 3 * kPageSize) back.push_back(slot);
  flush(c, back, Source::kSlabsOnly);
  EXPECT_EQ(look() + look(), 0u);
  std::vector<void*> rest;
  for (void* const slot : dense)
    if (reinterpret_cast<Address>(slot) % (16 * kPageSize) >= 3 * kPageSize) rest.push_back(slot);
  flush(c, rest, Source::kSlabsOnly);
  flush(c, kept, Source::kSlabsOnly);
  node_heap.release_empty_slabs();
  EXPECT_EQ(testing::inconsistency().find("unit "), std::string::npos);
}

TEST(NodeHeap, ManyThreadsNoSlotTwice) {
  testing::start_heap();
  constexpr unsigned kThreads = 4;
  std::atomic<bool> shared{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      testing::Random random(t);
      std::vector<std::pair<SizeClass, std::vector<void*>>> held;
      for (int round = 0; round < 3000; ++round) {
        if (held.size() < 30 && random.below(2) == 0) {
          const SizeClass c = size_class(static_cast<unsigned>(5 + random.below(3)));
          held.emplace_back(c, refill(c, 40, random.below(2) == 0 ? Source::kDepotFirst : Source::kSlabsOnly, t));
          for (void* const slot : held.back().second) *static_cast<unsigned*>(slot) = t * 100'000 + static_cast<unsigned>(round);
          for (void* const slot : held.back().second) static_cast<unsigned*>(slot)[1] = *static_cast<unsigned*>(slot);
        } else if (!held.empty()) {
          auto& [c, slots] = held.back();
          const unsigned mark = slots.empty() ? 0 : *static_cast<unsigned*>(slots[0]);
          for (void* const slot : slots)
            if (static_cast<unsigned*>(slot)[0] != mark || static_cast<unsigned*>(slot)[1] != mark) shared = true;
          flush(c, slots, random.below(2) == 0 ? Source::kDepotFirst : Source::kSlabsOnly);
          held.pop_back();
        }
      }
      for (const auto& [c, slots] : held) flush(c, slots, Source::kDepotFirst);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(shared);
  node_heap.drain_depots(NodeHeap::Depots::kAll);
  for (unsigned i = 5; i < 8; ++i) EXPECT_EQ(node_heap.facts(size_class(i)).slots_outside, 0u);
}

}  // namespace
}  // namespace nebula
