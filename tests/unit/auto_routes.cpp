#include "heap/auto_routes.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "heap/heap.hpp"
#include "heap/routes.hpp"
#include "os/process.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

using heap::auto_routes::Facts;
using heap::auto_routes::Move;
using heap::auto_routes::Reason;
using heap::route_rules::Seen;
using heap::routes::Route;
namespace rules = heap::route_rules;

constexpr SizeClass class_of(std::size_t size) { return size_class(class_index_for(size)); }

// 1,000 objects of 8,208 bytes, slots of 10,240, that were allocated in a second.
Seen seen_growing() {
  Seen seen;
  seen.c = class_of(8208);
  seen.live = 1000;
  seen.held_bytes = 1000 * slot_size(seen.c);
  seen.allocated = 1000;
  seen.milliseconds = 1000;
  seen.fastest = 200;
  seen.mean_size = 8208;
  return seen;
}

TEST(AutoRoutes, WhatOutlivesItsBlockIsTighterThere) {
  const Seen growing = seen_growing();
  EXPECT_EQ(rules::bytes_in_blocks(growing), 1000u * 8208);
  EXPECT_EQ(rules::life_bytes(growing), 1000ull * 8208 * 1000);
  EXPECT_TRUE(rules::is_tighter_in_blocks(growing, 0));
  // A hundredth of the process is not worth a move.
  EXPECT_FALSE(rules::is_tighter_in_blocks(growing, 300 * kMiB));
}

TEST(AutoRoutes, WhatDiesAsOftenAsItIsMadeIsNot) {
  Seen turning = seen_growing();
  turning.freed = turning.allocated;
  // Two objects and a bit touch a page, and the last of them keeps it: half as much again.
  EXPECT_EQ(rules::bytes_in_blocks(turning), 1000u * 8208 * 3 / 2);
  EXPECT_EQ(rules::life_bytes(turning), 1000u * 8208);
  EXPECT_FALSE(rules::is_tighter_in_blocks(turning, 0));
  // And the smaller the objects, the more so.
  turning.mean_size = 1040;
  EXPECT_GT(rules::bytes_in_blocks(turning), 1000u * 1040 * 2);
}

TEST(AutoRoutes, SizesThatFitTheirSlotsStay) {
  Seen fitting = seen_growing();
  fitting.mean_size = 10'200;
  EXPECT_FALSE(rules::is_tighter_in_blocks(fitting, 0));
  fitting.mean_size = 0;  // unknown
  EXPECT_FALSE(rules::is_tighter_in_blocks(fitting, 0));
}

TEST(AutoRoutes, FewObjectsAndFastOnesStay) {
  Seen few = seen_growing();
  few.live = 100;
  EXPECT_FALSE(rules::is_tighter_in_blocks(few, 0));
  Seen fast = seen_growing();
  fast.fastest = 1000;
  EXPECT_FALSE(rules::is_tighter_in_blocks(fast, 0));
}

TEST(AutoRoutes, AllThatAreAwayTakeAHundredthOfTheTime) {
  for (const Route route : {Route::kBump, Route::kNode}) {
    const std::uint64_t each = route == Route::kBump ? rules::kBumpNanoseconds : rules::kNodeNanoseconds;
    EXPECT_LE(rules::kAwayMost * rules::allowance(route) * each, rules::kAllowanceMilliseconds * 1'000'000 / 100);
  }
}

TEST(AutoRoutes, SparseIsTwiceWhatSpansWouldHold) {
  Seen sparse;
  sparse.c = class_of(24'000);
  sparse.live = 100;
  sparse.held_bytes = 200 * rules::bytes_as_spans(sparse.c, 1);
  EXPECT_TRUE(rules::is_sparse(sparse, 0));
  --sparse.held_bytes;
  EXPECT_FALSE(rules::is_sparse(sparse, 0));
  // Three pages for slots of two and a half are never worth it.
  sparse.c = class_of(10'000);
  sparse.held_bytes *= 10;
  EXPECT_FALSE(rules::is_sparse(sparse, 0));
}

TEST(AutoRoutes, SteadyIsWhatSlotsWouldHoldInLess) {
  const SizeClass c = class_of(24'000);
  rules::Swing swing;
  for (int look = 0; look < 10; ++look) swing.add(100);
  EXPECT_TRUE(rules::is_steady(c, swing));
  swing = {};
  for (std::uint64_t look = 0; look < 10; ++look) swing.add(look % 2 == 0 ? 100 : 80);
  EXPECT_FALSE(rules::is_steady(c, swing));
  EXPECT_FALSE(rules::is_steady(c, {}));  // nothing is there
}

TEST(AutoRoutes, ALookThatWasInterruptedPutsOffTheNextOneByLittle) {
  std::uint64_t known = 0;
  for (int look = 0; look < 10; ++look) EXPECT_EQ(rules::rest_after(25'000, known), 100u);
  EXPECT_EQ(known, 25'000u);
  EXPECT_EQ(rules::rest_after(10'000'000, known), 100u);
  EXPECT_EQ(rules::rest_after(25'000, known), 100u);
  // Of one that always takes as long, each next is believed to take twice as long, and so the 500th part of the time is kept.
  std::uint64_t rest = 0;
  for (int look = 0; look < 8; ++look) rest = rules::rest_after(10'000'000, known);
  EXPECT_EQ(rest, 5'000u);
  EXPECT_EQ(rules::rest_after(10'000'000, known), 5'000u);
}

// The heap with looks at made-up times, so far ahead that it takes none by itself; a class that a test uses is no other's, because it may leave pools only twice.
class Watch {
 public:
  Watch() {
    testing::start_heap();
    static const bool begun = [] {
      config::Routes routes;
      if (!config::parse_routes("auto", routes)) std::abort();
      heap::set_routes(routes, 256 * kMiB);
      return true;
    }();
    static_cast<void>(begun);
    pass();
  }
  ~Watch() {
    for (void* const object : objects) heap::deallocate(object, "free");
    // Nobody is away when the next test begins.
    for (int look = 0; look < 40; ++look) pass();
    heap::trim();
    EXPECT_EQ(testing::inconsistency(), "");
  }

  void pass(unsigned milliseconds = 100) {
    static std::uint64_t now = os::coarse_milliseconds() + 1'000'000'000;
    now += milliseconds;
    ASSERT_TRUE(heap::auto_routes::look(now));
  }
  void allocate(std::size_t size, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      objects.push_back(heap::allocate(size));
      testing::fill(objects.back(), size);
    }
  }
  // All but each `every`-th.
  void free_but(unsigned every) {
    std::vector<void*> kept;
    for (std::size_t i = 0; i < objects.size(); ++i) {
      if (i % every == 0) kept.push_back(objects[i]);
      else heap::deallocate(objects[i], "free");
    }
    objects.swap(kept);
  }

  std::vector<void*> objects;
};

Facts facts() {
  Facts result;
  heap::auto_routes::read(result);
  return result;
}
Move last_move() {
  const Facts now = facts();
  return now.kept_moves[now.kept - 1];
}
Route route_of(std::size_t size) { return heap::routes::of(class_of(size)); }
unsigned use_of(const void* object) { return unit_use(unit_of(object)).load(); }
// Far more than may come in a moment. The first allowance is from the made-up time of the move, and so there is another.
void allocate_too_often(Watch& watch, std::size_t size) {
  for (int i = 0; i < 100'000 && route_of(size) != Route::kPool; ++i) watch.objects.push_back(heap::allocate(size));
}
bool is_in_block(const void* object) { return use_of(object) == static_cast<unsigned>(UnitUse::kBump); }
bool is_span(const void* object) { return use_of(object) == static_cast<unsigned>(UnitUse::kLargeHead); }

TEST(AutoRoutes, AGrowingClassGoesToBlocksAndABusyOneComesBack) {
  Watch watch;
  watch.allocate(8208, 205);
  watch.pass();
  EXPECT_EQ(route_of(8208), Route::kPool);  // once is not enough
  watch.allocate(8208, 205);
  watch.pass();
  ASSERT_EQ(route_of(8208), Route::kBump);
  const Move move = last_move();
  EXPECT_EQ(move.reason, Reason::kTighter);
  EXPECT_EQ(move.live, 410u);
  EXPECT_EQ(move.allocated, 205u);
  EXPECT_EQ(move.freed, 0u);
  EXPECT_EQ(move.held_before, 410u * 10'240);
  EXPECT_EQ(move.held_after, 410u * 8208);
  // What is free in slabs comes first.
  const std::size_t before = watch.objects.size();
  while (!is_in_block(watch.objects.back()) && watch.objects.size() < before + 100) watch.allocate(8208, 1);
  EXPECT_TRUE(is_in_block(watch.objects.back()));
  EXPECT_GT(watch.objects.size(), before + 1);
  EXPECT_EQ(heap::usable_size(watch.objects.back()), 8208u);
  allocate_too_often(watch, 8208);
  EXPECT_EQ(route_of(8208), Route::kPool);
  EXPECT_EQ(last_move().reason, Reason::kBusy);
  EXPECT_FALSE(is_in_block(watch.objects.back()));
}

TEST(AutoRoutes, BlocksThatHoldMoreThanSlotsAreLeft) {
  Watch watch;
  for (int window = 0; window < 2; ++window) {
    watch.allocate(16'500, 200);
    watch.pass();
  }
  ASSERT_EQ(route_of(16'500), Route::kBump);
  watch.allocate(16'500, 400);
  ASSERT_TRUE(is_in_block(watch.objects.back()));
  watch.pass();
  EXPECT_EQ(route_of(16'500), Route::kBump);
  watch.free_but(10);
  watch.pass();
  EXPECT_EQ(route_of(16'500), Route::kBump);  // once is not enough
  watch.pass();
  EXPECT_EQ(route_of(16'500), Route::kPool);
  EXPECT_EQ(last_move().reason, Reason::kDearer);
  EXPECT_GT(last_move().held_before, last_move().held_after);
}

TEST(AutoRoutes, ASparseClassGetsSpansAndASteadyOneLosesThem) {
  Watch watch;
  watch.allocate(24'500, 400);
  watch.pass();
  watch.free_but(10);
  heap::flush_this_thread();
  for (unsigned look = 1; look < rules::kSparseLooks; ++look) {
    watch.pass();
    ASSERT_EQ(route_of(24'500), Route::kPool) << look;
  }
  watch.pass();
  ASSERT_EQ(route_of(24'500), Route::kNode);
  EXPECT_EQ(last_move().reason, Reason::kSparse);
  EXPECT_EQ(last_move().live, 40u);
  // Up to what the slabs can give nothing changes.
  std::vector<void*> spans;
  while (spans.size() < 20 && watch.objects.size() < 1000) {
    watch.allocate(24'500, 1);
    if (is_span(watch.objects.back())) spans.push_back(watch.objects.back());
  }
  ASSERT_EQ(spans.size(), 20u);
  EXPECT_GE(watch.objects.size(), 400u);
  EXPECT_EQ(heap::usable_size(spans.back()), 24'576u);
  for (unsigned look = 0; look < rules::kSparseLooks; ++look) watch.pass();
  EXPECT_EQ(route_of(24'500), Route::kPool);
  EXPECT_EQ(last_move().reason, Reason::kSteady);
}

TEST(AutoRoutes, SpansThatComeAndGoStay) {
  Watch watch;
  watch.allocate(28'600, 400);
  watch.pass();
  watch.free_but(10);
  heap::flush_this_thread();
  for (unsigned look = 0; look < rules::kSparseLooks; ++look) watch.pass();
  ASSERT_EQ(route_of(28'600), Route::kNode);
  while (!is_span(watch.objects.back()) && watch.objects.size() < 1000) watch.allocate(28'600, 1);
  ASSERT_TRUE(is_span(watch.objects.back()));
  for (unsigned look = 0; look < 3 * rules::kSparseLooks; ++look) {
    std::vector<void*> swinging;
    for (unsigned i = 0; i < 3 && look % 3 == 0; ++i) swinging.push_back(heap::allocate(28'600));
    watch.pass();
    for (void* const object : swinging) heap::deallocate(object, "free");
  }
  EXPECT_EQ(route_of(28'600), Route::kNode);
  // Nothing lives in spans: they are neither steady nor worth a return.
  watch.free_but(10'000);
  for (unsigned look = 0; look < 2 * rules::kSparseLooks; ++look) watch.pass();
}

TEST(AutoRoutes, LoadsThatMoveNothing) {
  Watch watch;
  const std::uint64_t moves = facts().moves;
  std::vector<void*> turning;
  for (int window = 0; window < 20; ++window) {
    watch.allocate(64, 2000);      // small
    watch.allocate(12'200, 40);    // fits
    watch.allocate(1100, 40);      // few bytes to win
    // As many die as are made.
    for (int i = 0; i < (window == 0 ? 1000 : 150); ++i) {
      turning.push_back(heap::allocate(4200));
      if (turning.size() > 1000) {
        heap::deallocate(turning.front(), "free");
        turning.erase(turning.begin());
      }
    }
    // Too fast.
    for (int i = 0; i < 3000; ++i) heap::deallocate(heap::allocate(2100), "free");
    watch.pass();
  }
  for (int window = 0; window < 4; ++window) {
    watch.allocate(2100, 1500);
    watch.pass();
  }
  for (void* const object : turning) heap::deallocate(object, "free");
  EXPECT_EQ(facts().moves, moves) << heap::auto_routes::name_of(last_move().reason) << ", size " << slot_size(last_move().c) << ": "
                                   << last_move().live << " live, " << last_move().allocated << " allocated, " << last_move().freed
                                   << " freed in " << last_move().milliseconds << " ms";
}

TEST(AutoRoutes, ABurstAfterALongRestIsStillOne) {
  Watch watch;
  for (int window = 0; window < 4; ++window) {
    for (int look = 0; look < 100; ++look) watch.pass();
    watch.allocate(6'200, 900);
    watch.pass();
  }
  EXPECT_EQ(route_of(6'200), Route::kPool);
}

TEST(AutoRoutes, AClassLeavesTwiceAtMost) {
  Watch watch;
  const auto grow = [&](int windows) {
    for (int window = 0; window < windows; ++window) {
      watch.allocate(5136, 300);
      watch.pass();
    }
  };
  for (unsigned time = 0; time < rules::kLeavesMost; ++time) {
    grow(3);
    ASSERT_EQ(route_of(5136), Route::kBump) << time;
    allocate_too_often(watch, 5136);
    ASSERT_EQ(route_of(5136), Route::kPool) << time;
  }
  const std::uint64_t moves = facts().moves;
  grow(6);
  EXPECT_EQ(facts().moves, moves);
}

TEST(AutoRoutes, WhoeverFreesAndWhateverTheRouteIsNow) {
  Watch watch;
  for (int window = 0; window < 2; ++window) {
    watch.allocate(3100, 1400);
    watch.pass(500);
  }
  ASSERT_EQ(route_of(3100), Route::kBump);
  watch.allocate(3100, 300);
  ASSERT_TRUE(is_in_block(watch.objects.back()));
  std::thread([&] {
    void* const own = heap::allocate(3100);
    // From a block into the next class, which is in pools, and back.
    void* const moved = heap::reallocate(watch.objects.back(), 4000);
    watch.objects.back() = heap::reallocate(moved, 1400);
    watch.free_but(3);
    heap::deallocate(own, "free");
  }).join();
  EXPECT_EQ(testing::inconsistency(), "");
}

}  // namespace
}  // namespace nebula
