// Arenas, heaps, pools and stacks of the public header, by what they promise and by the heap's books.

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "arena/arena.hpp"
#include "arena/object_heap.hpp"
#include "arena/pool.hpp"
#include "arena/stack.hpp"
#include "budget/account.hpp"
#include "heap/heap.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

using arena::Checkpoint;
using Restored = arena::Arena::Restored;
constexpr std::size_t kUnlimited = ~std::size_t{0};

// Nothing is left at the end, and the books agree.
class Books {
 public:
  Books() {
    testing::start_heap();
    before_ = testing::live();
  }
  ~Books() {
    EXPECT_EQ(testing::live(), before_);
    EXPECT_EQ(testing::inconsistency(), "");
  }
  [[nodiscard]] std::uint64_t held() const { return testing::live().bytes - before_.bytes; }

 private:
  testing::Live before_;
};

// The budget leaves nothing.
class NothingMore {
 public:
  NothingMore() {
    heap::trim();
    process_account.set_limits(process_account.committed(), kNoLimit);
  }
  ~NothingMore() { process_account.set_limits(kNoLimit, kNoLimit); }
};

arena::Arena* make_arena(std::size_t limit = kUnlimited) { return arena::Arena::create(0, limit); }

void* filled(arena::Arena& arena, std::size_t size) {
  void* const object = arena.allocate(size, 16);
  if (object != nullptr) testing::fill(object, size);
  return object;
}

TEST(Arena, ObjectsKeepWhatIsInThemAndItsBlocksAreInTheBooks) {
  const Books books;
  arena::Arena& arena = *make_arena();
  std::vector<std::pair<void*, std::size_t>> objects;
  testing::Random random(1);
  for (int i = 0; i < 3000; ++i) {
    const std::size_t size = random.below(20) == 0 ? random.below(200'000) : random.below(300);
    objects.emplace_back(filled(arena, size), size);
    ASSERT_NE(objects.back().first, nullptr);
  }
  for (const auto& [object, size] : objects) EXPECT_TRUE(testing::is_filled(object, size));
  EXPECT_EQ(arena.usage().held_bytes, books.held());
  EXPECT_EQ(arena.usage().objects, 3000u);
  arena.reset();
  EXPECT_EQ(arena.usage().objects, 0u);
  EXPECT_EQ(arena.usage().held_bytes, books.held());
  EXPECT_LE(books.held(), 2 * kUnitSize);
  arena.destroy();
}

TEST(Arena, EveryAlignmentIsKept) {
  const Books books;
  arena::Arena& arena = *make_arena();
  for (std::size_t alignment = 1; alignment <= 4 * kMiB; alignment *= 2)
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{100}, 60 * kKiB, 70 * kKiB}) {
      void* const object = arena.allocate(size, alignment);
      ASSERT_NE(object, nullptr);
      EXPECT_EQ(reinterpret_cast<Address>(object) % (alignment < 16 ? 16 : alignment), 0u);
      std::memset(object, 1, size);
    }
  EXPECT_EQ(arena.allocate(PTRDIFF_MAX, 16), nullptr);
  EXPECT_EQ(arena.allocate(~std::size_t{0}, 16), nullptr);
  EXPECT_EQ(arena.allocate(16, std::size_t{1} << 63), nullptr);
  arena.destroy();
}

TEST(Arena, ACheckpointOfAnotherHistoryIsStale) {
  const Books books;
  arena::Arena& arena = *make_arena();
  filled(arena, 100);
  const Checkpoint early = arena.checkpoint();
  void* const kept = filled(arena, 100);
  const Checkpoint middle = arena.checkpoint();
  filled(arena, 100);
  const Checkpoint late = arena.checkpoint();
  EXPECT_EQ(arena.restore(middle), Restored::kDone);
  EXPECT_EQ(arena.restore(late), Restored::kStale);
  for (int i = 0; i < 100; ++i) filled(arena, 100);  // beyond where it was
  const Checkpoint anew = arena.checkpoint();
  EXPECT_EQ(arena.restore(late), Restored::kStale);
  EXPECT_EQ(arena.usage().objects, 102u);
  EXPECT_EQ(arena.restore(anew), Restored::kDone);
  EXPECT_EQ(arena.restore(middle), Restored::kDone);
  EXPECT_EQ(arena.restore(middle), Restored::kDone);
  EXPECT_TRUE(testing::is_filled(kept, 100));
  EXPECT_EQ(arena.restore(early), Restored::kDone);
  EXPECT_EQ(arena.restore(middle), Restored::kStale);
  EXPECT_EQ(arena.restore(anew), Restored::kStale);
  EXPECT_EQ(arena.restore({early.arena, anew.number + 1}), Restored::kFuture);
  EXPECT_EQ(arena.restore({early.arena, 0}), Restored::kForeign);
  EXPECT_EQ(arena.restore({}), Restored::kForeign);
  EXPECT_EQ(arena.usage().objects, 1u);
  arena.reset();
  EXPECT_EQ(arena.restore(early), Restored::kStale);
  arena.destroy();
}

TEST(Arena, ACheckpointOfAnotherArenaIsForeignAtTheSameAddressToo) {
  const Books books;
  arena::Arena* const first = make_arena();
  arena::Arena& second = *make_arena();
  const Checkpoint of_first = first->checkpoint();
  EXPECT_EQ(second.restore(of_first), Restored::kForeign);
  first->destroy();
  arena::Arena* const again = make_arena();
  EXPECT_EQ(again, first);
  EXPECT_EQ(again->restore(of_first), Restored::kForeign);
  again->destroy();
  second.destroy();
}

TEST(Arena, ALoopOfCheckpointsNeedsNoMemory) {
  const Books books;
  arena::Arena& arena = *make_arena();
  filled(arena, 10);
  for (int i = 0; i < 100'000; ++i) {
    const Checkpoint checkpoint = arena.checkpoint();
    if (i % 100 == 0) filled(arena, 100'000);
    (void)arena.allocate(1000, 16);
    ASSERT_EQ(arena.restore(checkpoint), Restored::kDone);
  }
  EXPECT_EQ(arena.usage().held_bytes, kUnitSize);
  arena.destroy();
}

// A block that is full to the last byte has room for the record of a checkpoint all the same, and only for that one. The units
// behind the arena's blocks are others' objects, which must stay as they are.
TEST(Arena, ThereIsAlwaysRoomForACheckpoint) {
  const Books books;
  for (std::size_t start = 0; start < 8; ++start) {
    arena::Arena& arena = *make_arena();
    std::vector<void*> objects, neighbours;
    const auto add_neighbour = [&] {
      neighbours.push_back(heap::allocate(kUnitSize));
      testing::fill(neighbours.back(), kUnitSize);
    };
    for (int i = 0; i < 40; ++i) add_neighbour();
    for (std::size_t i = 0; i < start; ++i) objects.push_back(filled(arena, 16));
    std::uint64_t held = kUnitSize;
    for (std::size_t i = 0; i < 5000; ++i) {
      const Checkpoint before = arena.checkpoint();
      void* const apart = filled(arena, 70'000);
      const Checkpoint after = arena.checkpoint();
      filled(arena, 16);
      ASSERT_EQ(arena.restore(after), Restored::kDone);
      ASSERT_TRUE(testing::is_filled(apart, 70'000));
      ASSERT_EQ(arena.restore(before), Restored::kDone);
      objects.push_back(filled(arena, 16));
      if (arena.usage().held_bytes != held) add_neighbour();
      held = arena.usage().held_bytes;
    }
    for (void* const object : objects) ASSERT_TRUE(testing::is_filled(object, 16));
    for (void* const neighbour : neighbours) {
      ASSERT_TRUE(testing::is_filled(neighbour, kUnitSize));
      heap::deallocate(neighbour, "free");
    }
    arena.destroy();
  }
}

TEST(Arena, WhatIsReservedIsNotRefused) {
  const Books books;
  arena::Arena& arena = *make_arena();
  filled(arena, 1000);
  for (const std::size_t bytes : {std::size_t{100}, 60 * kKiB, kMiB + 1}) {
    ASSERT_TRUE(arena.reserve(bytes));
    const std::uint64_t held = arena.usage().held_bytes;
    const NothingMore limit;
    testing::Random random(bytes);
    for (std::size_t left = bytes & ~std::size_t{15}; left != 0;) {
      const std::size_t size = 16 * (1 + random.below(left / 16 < 5000 ? left / 16 : 5000));
      ASSERT_NE(filled(arena, size), nullptr);
      left -= size;
    }
    EXPECT_EQ(arena.usage().held_bytes, held);
  }
  EXPECT_FALSE(arena.reserve(~std::size_t{0}));
  arena.destroy();
}

TEST(Arena, ARefusalLeavesEverythingAsItWas) {
  const Books books;
  arena::Arena& arena = *make_arena();
  arena::ObjectHeap& own = *arena::ObjectHeap::create(kUnlimited);
  arena::Pool& pool = *arena::Pool::create(1000, 16, kUnlimited);
  void* const kept = filled(arena, 1000);
  void* const in_heap = own.allocate(50'000, 16);
  testing::fill(in_heap, 50'000);
  {
    const NothingMore limit;
    const std::uint64_t refusals = process_account.refusals();
    EXPECT_EQ(arena::Arena::create(0, kUnlimited), nullptr);
    EXPECT_EQ(arena::ObjectHeap::create(kUnlimited), nullptr);
    EXPECT_EQ(arena::Pool::create(100, 16, kUnlimited), nullptr);
    EXPECT_EQ(arena::Stack::create(100'000), nullptr);
    EXPECT_EQ(arena.allocate(kUnitSize, 16), nullptr);
    EXPECT_FALSE(arena.reserve(kUnitSize));
    EXPECT_EQ(own.allocate(kUnitSize, 16), nullptr);
    EXPECT_EQ(own.reallocate(in_heap, kMiB, "test"), nullptr);
    EXPECT_EQ(process_account.refusals(), refusals + 8);
    while (arena.allocate(1000, 16) != nullptr) {
    }
    while (own.allocate(1000, 16) != nullptr) {
    }
    while (pool.allocate() != nullptr) {
    }
    EXPECT_EQ(process_account.refusals(), refusals + 11);
    EXPECT_EQ(arena.usage().held_bytes + own.usage().held_bytes + pool.usage().held_bytes, books.held());
    const Checkpoint checkpoint = arena.checkpoint();
    EXPECT_EQ(arena.restore(checkpoint), Restored::kDone);
  }
  EXPECT_TRUE(testing::is_filled(kept, 1000));
  EXPECT_TRUE(testing::is_filled(in_heap, 50'000));
  EXPECT_NE(arena.allocate(1000, 16), nullptr);
  EXPECT_NE(own.allocate(1000, 16), nullptr);
  EXPECT_NE(pool.allocate(), nullptr);
  pool.destroy();
  own.destroy();
  arena.destroy();
}

TEST(Arena, ALimitIsOfWhatIsHeld) {
  const Books books;
  EXPECT_EQ(make_arena(kUnitSize - 1), nullptr);
  arena::Arena& arena = *make_arena(3 * kUnitSize);
  while (arena.allocate(1000, 16) != nullptr) {
  }
  EXPECT_EQ(arena.usage().held_bytes, 3 * kUnitSize);
  arena.reset();
  EXPECT_NE(arena.allocate(kUnitSize + 1, 16), nullptr);  // the block that was kept makes room
  arena.destroy();
  arena::ObjectHeap& own = *arena::ObjectHeap::create(2 * kUnitSize);
  EXPECT_EQ(own.allocate(2 * kUnitSize, 16), nullptr);
  while (own.allocate(1000, 16) != nullptr) {
  }
  EXPECT_EQ(own.usage().held_bytes, 2 * kUnitSize);
  own.destroy();
  arena::Pool& pool = *arena::Pool::create(1000, 16, 2 * kUnitSize);
  while (pool.allocate() != nullptr) {
  }
  EXPECT_EQ(pool.usage().held_bytes, 2 * kUnitSize);
  pool.destroy();
}

TEST(Arena, APoolsObjectsAreApartAlignedAndUsedAgain) {
  const Books books;
  for (const std::size_t alignment : {std::size_t{16}, std::size_t{64}, 4 * kKiB, 128 * kKiB})
    for (const std::size_t size : {std::size_t{0}, std::size_t{24}, std::size_t{1000}, 5 * kKiB, 300 * kKiB}) {
      arena::Pool& pool = *arena::Pool::create(size, alignment, kUnlimited);
      std::vector<void*> objects;
      const std::size_t count = size + alignment > 100'000 ? 40 : 3000;
      for (int round = 0; round < 3; ++round) {
        while (objects.size() < count) {
          objects.push_back(pool.allocate());
          ASSERT_NE(objects.back(), nullptr);
          ASSERT_EQ(reinterpret_cast<Address>(objects.back()) % alignment, 0u);
          testing::fill(objects.back(), size);
        }
        EXPECT_EQ(std::set<void*>(objects.begin(), objects.end()).size(), count);
        EXPECT_EQ(pool.usage().objects, count);
        EXPECT_EQ(pool.usage().held_bytes, books.held());
        testing::Random random(7);
        while (objects.size() > count / 10) {
          std::swap(objects[random.below(objects.size())], objects.back());
          ASSERT_TRUE(testing::is_filled(objects.back(), size));
          pool.free(objects.back(), "test");
          objects.pop_back();
        }
      }
      for (void* const object : objects) pool.free(object, "test");
      EXPECT_EQ(pool.usage().objects, 0u);
      pool.destroy();
    }
  EXPECT_EQ(arena::Pool::create(kGiB + 1, 16, kUnlimited), nullptr);
  EXPECT_EQ(arena::Pool::create(16, 2 * kGiB, kUnlimited), nullptr);
}

TEST(Arena, EmptyBlocksOfAPoolGoBackButForOne) {
  const Books books;
  arena::Pool& pool = *arena::Pool::create(1000, 16, kUnlimited);
  std::vector<void*> objects;
  for (int i = 0; i < 1000; ++i) objects.push_back(pool.allocate());
  EXPECT_GE(pool.usage().held_bytes, 15 * kUnitSize);
  for (void* const object : objects) pool.free(object, "test");
  EXPECT_EQ(pool.usage().held_bytes, 2 * kUnitSize);
  EXPECT_EQ(books.held(), 2 * kUnitSize);
  pool.destroy();
}

TEST(Arena, AHeapServesEverySizeAndAlignment) {
  const Books books;
  arena::ObjectHeap& own = *arena::ObjectHeap::create(kUnlimited);
  std::vector<std::pair<void*, std::size_t>> objects;
  for (std::size_t alignment = 1; alignment <= kMiB; alignment *= 4)
    for (std::size_t size = 0; size < 40'000; size += 1 + size / 8) {
      void* const object = own.allocate(size, alignment);
      ASSERT_NE(object, nullptr);
      ASSERT_EQ(reinterpret_cast<Address>(object) % (alignment < 16 ? 16 : alignment), 0u);
      ASSERT_GE(own.usable_size(object, "test"), size);
      testing::fill(object, own.usable_size(object, "test"));
      objects.emplace_back(object, own.usable_size(object, "test"));
    }
  EXPECT_EQ(own.usage().held_bytes, books.held());
  for (const auto& [object, size] : objects) {
    EXPECT_TRUE(testing::is_filled(object, size));
    own.free(object, "test");
  }
  EXPECT_EQ(own.usage().objects, 0u);
  EXPECT_EQ(own.usage().used_bytes, 0u);
  EXPECT_LE(own.usage().held_bytes, 2 * kUnitSize);
  EXPECT_EQ(own.allocate(PTRDIFF_MAX, 16), nullptr);
  own.destroy();
}

TEST(Arena, AHeapsObjectKeepsItsContentsWhenItIsResized) {
  const Books books;
  arena::ObjectHeap& own = *arena::ObjectHeap::create(kUnlimited);
  testing::Random random(3);
  void* object = own.allocate(100, 16);
  std::size_t size = 100;
  for (std::uint64_t key = 0; key < 2000; ++key) {
    testing::fill_as(object, size, key);
    const std::size_t wanted = 1 + random.below(random.below(10) == 0 ? 300'000 : 3000);
    object = own.reallocate(object, wanted, "test");
    ASSERT_NE(object, nullptr);
    ASSERT_TRUE(testing::is_filled_as(object, size < wanted ? size : wanted, key));
    size = wanted;
  }
  EXPECT_EQ(own.usage().objects, 1u);
  own.destroy();
}

TEST(Arena, FramesEndInOrder) {
  const Books books;
  arena::Stack& stack = *arena::Stack::create(10'000);
  arena::Frame outer, inner;
  void* const kept = stack.allocate(100, 16);
  testing::fill(kept, 100);
  ASSERT_TRUE(stack.begin_frame(outer));
  EXPECT_NE(stack.allocate(100, 256), nullptr);
  ASSERT_TRUE(stack.begin_frame(inner));
  EXPECT_NE(stack.allocate(1000, 16), nullptr);
  using Ended = arena::Stack::Ended;
  EXPECT_EQ(stack.end_frame(outer), Ended::kNotLast);
  EXPECT_EQ(stack.usage().objects, 3u);
  EXPECT_EQ(stack.end_frame(inner), Ended::kDone);
  EXPECT_EQ(stack.end_frame(inner), Ended::kStale);
  EXPECT_EQ(stack.end_frame({inner.stack, inner.number + 1}), Ended::kFuture);
  EXPECT_EQ(stack.end_frame({inner.stack + 1, inner.number}), Ended::kForeign);
  EXPECT_EQ(stack.end_frame({}), Ended::kForeign);
  EXPECT_EQ(stack.usage().objects, 2u);
  EXPECT_EQ(stack.end_frame(outer), Ended::kDone);
  EXPECT_EQ(stack.end_frame(inner), Ended::kStale);
  EXPECT_EQ(stack.usage().used_bytes, 112u);
  EXPECT_TRUE(testing::is_filled(kept, 100));
  stack.destroy();
}

TEST(Arena, AStackHoldsWhatWasSaidToTheByte) {
  const Books books;
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{1}, std::size_t{100'000}}) {
    arena::Stack& stack = *arena::Stack::create(capacity);
    const NothingMore limit;
    std::size_t granted = 0;
    while (void* const object = stack.allocate(16, 16)) {
      std::memset(object, 1, 16);
      granted += 16;
    }
    EXPECT_EQ(granted, (capacity + 15) / 16 * 16);
    arena::Frame frame;
    EXPECT_FALSE(stack.begin_frame(frame));
    EXPECT_EQ(frame.number, 0u);
    EXPECT_EQ(stack.allocate(~std::size_t{0}, 16), nullptr);
    EXPECT_EQ(stack.allocate(16, std::size_t{1} << 63), nullptr);
    stack.destroy();
  }
  EXPECT_EQ(arena::Stack::create(~std::size_t{0}), nullptr);
}

// Each thread its own, all at once; and each made by one thread and ended by another.
TEST(Arena, DifferentOnesMayBeUsedByDifferentThreads) {
  const Books books;
  std::vector<arena::Arena*> arenas(4);
  std::vector<arena::ObjectHeap*> heaps(4);
  std::vector<arena::Pool*> pools(4);
  for (int round = 0; round < 2; ++round) {
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 4; ++t)
      threads.emplace_back([&, t, round] {
        if (round == 0) {
          arenas[t] = make_arena();
          heaps[t] = arena::ObjectHeap::create(kUnlimited);
          pools[t] = arena::Pool::create(48, 16, kUnlimited);
        }
        const std::size_t mine = (t + static_cast<std::size_t>(round)) % 4;
        testing::Random random(t);
        for (int i = 0; i < 5000; ++i) {
          filled(*arenas[mine], random.below(500));
          testing::fill(heaps[mine]->allocate(random.below(2000), 16), 0);
          void* const object = pools[mine]->allocate();
          testing::fill(object, 48);
          if (i % 3 != 0) pools[mine]->free(object, "test");
        }
      });
    for (std::thread& thread : threads) thread.join();
  }
  for (std::size_t t = 0; t < 4; ++t) {
    EXPECT_EQ(arenas[t]->usage().objects, 10'000u);
    EXPECT_EQ(heaps[t]->usage().objects, 10'000u);
    EXPECT_EQ(pools[t]->usage().objects, 3334u);
    arenas[t]->destroy();
    heaps[t]->destroy();
    pools[t]->destroy();
  }
}

}  // namespace
}  // namespace nebula
