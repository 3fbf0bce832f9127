// The types of nebula.hpp: types absent|present. Without the library those that own throw, and the memory resources work all the
// same.
#include <nebula/nebula.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <list>
#include <map>
#include <memory_resource>
#include <string>
#include <vector>

#include "check.h"

namespace {

template <class Error, class Call>
bool throws(Call call) {
  try {
    call();
  } catch (const Error&) {
    return true;
  }
  return false;
}

constexpr auto kMost = std::numeric_limits<std::size_t>::max();
static_assert(nebula::checked_add(1, 2) == 3);
static_assert(!nebula::checked_add(std::numeric_limits<int>::max(), 1));
static_assert(!nebula::checked_add<std::uint8_t>(200, 56));
static_assert(nebula::checked_add<std::uint8_t>(200, 55) == 255);
static_assert(!nebula::checked_subtract(1u, 2u));
static_assert(nebula::checked_subtract(1, 2) == -1);
static_assert(!nebula::checked_multiply(kMost / 2, std::size_t{3}));
static_assert(nebula::checked_multiply<std::int8_t>(-128, 1) == -128);
static_assert(!nebula::checked_multiply<std::int8_t>(-128, -1));
static_assert(nebula::checked_round_up(17u, 16u) == 32u);
static_assert(nebula::checked_round_up(0u, 16u) == 0u);
static_assert(!nebula::checked_round_up(kMost - 3, std::size_t{16}));
static_assert(!nebula::checked_round_up(17u, 0u) && !nebula::checked_round_up(17u, 12u));
static_assert(nebula::checked_array_bytes(3, 8, 16) == 40);
static_assert(!nebula::checked_array_bytes(kMost, 2) && !nebula::checked_array_bytes(kMost / 2, 1, 1));
static_assert(nebula::checked_array_bytes(kMost / 2, 1) == kMost / 2);

struct Point {
  int x = 1;
  int y = 2;
};

struct Counted {
  explicit Counted(int given) : value(given) {
    if (given < 0) throw std::runtime_error("negative");
    ++alive;
  }
  ~Counted() { --alive; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  int value;
  static inline int alive = 0;
};

void arenas() {
  nebula::Arena arena;
  const Point* const point = arena.make<Point>();
  CHECK(point->x == 1 && point->y == 2);
  {
    const nebula::ArenaScope scope(arena);
    long* const numbers = arena.make_array<long>(10'000);
    for (int i = 0; i < 10'000; ++i) CHECK(numbers[i] == 0);
    {
      const nebula::ArenaScope inner(arena);
      (void)arena.allocate(100);
      CHECK(arena.usage().objects == 3);
    }
    CHECK(arena.usage().objects == 2);
  }
  CHECK(arena.usage().objects == 1);
  CHECK(point->x == 1 && point->y == 2);
  const nebula_checkpoint checkpoint = arena.checkpoint();
  arena.reset();
  CHECK(throws<std::system_error>([&] { arena.restore(checkpoint); }));
  CHECK(throws<std::bad_array_new_length>([&] { (void)arena.make_array<long>(kMost / 2); }));
  CHECK(throws<std::bad_alloc>([&] { arena.reserve(kMost); }));
  arena.reserve(100'000);
  nebula::Arena moved = std::move(arena);
  CHECK(reinterpret_cast<std::uintptr_t>(moved.allocate(1, 4096)) % 4096 == 0);
  CHECK(throws<std::bad_alloc>([] { nebula::Arena({.block_bytes = 0, .limit_bytes = 1}); }));
}

void heaps() {
  nebula::Heap heap({.limit_bytes = 1 << 20});
  void* const object = heap.allocate(100);
  CHECK(heap.usage().objects == 1);
  heap.free(object);
  CHECK(heap.usage().objects == 0);
  CHECK(throws<std::bad_alloc>([&] { (void)heap.allocate(1 << 20); }));
}

void pools() {
  nebula::Pool<Counted> pool;
  Counted* const one = pool.make(1);
  {
    const auto two = pool.make_unique(2);
    CHECK(two->value == 2 && Counted::alive == 2);
  }
  CHECK(Counted::alive == 1 && pool.usage().objects == 1);
  CHECK(throws<std::runtime_error>([&] { (void)pool.make(-1); }));
  CHECK(Counted::alive == 1 && pool.usage().objects == 1);
  pool.destroy(one);
  pool.destroy(nullptr);
  CHECK(Counted::alive == 0 && pool.usage().objects == 0);
  struct alignas(128) Wide {
    char bytes[10];
  };
  nebula::Pool<Wide> wide;
  CHECK(reinterpret_cast<std::uintptr_t>(wide.make()) % 128 == 0);
}

void stacks() {
  nebula::Stack stack(1000);
  {
    const nebula::StackFrame frame(stack);
    CHECK(stack.make<Point>()->y == 2);
    CHECK(throws<std::bad_alloc>([&] { (void)stack.allocate(1000); }));
    while (stack.usage().used_bytes < 1000) (void)stack.allocate(8);
    CHECK(throws<std::bad_alloc>([&] { const nebula::StackFrame none(stack); }));
  }
  CHECK(stack.usage().used_bytes == 0);
}

void budgets() {
  nebula_budget budget = {};
  budget.size = sizeof budget;
  {
    const nebula::BudgetScope scope(std::uint64_t{1} << 30, std::uint64_t{1} << 29);
    CHECK(nebula_budget_get(&budget) == 0 && budget.limit_bytes == 1 << 30 && budget.soft_limit_bytes == 1 << 29);
    CHECK(throws<std::system_error>([] { const nebula::BudgetScope none(0); }));
    CHECK(nebula_budget_get(&budget) == 0 && budget.limit_bytes == 1 << 30);
  }
  CHECK(nebula_budget_get(&budget) == 0 && budget.limit_bytes == NEBULA_NO_LIMIT && budget.soft_limit_bytes == NEBULA_NO_LIMIT);
}

void containers() {
  nebula::ArenaResource arena;
  nebula::HeapResource heap;
  nebula::HeapResource other;
  CHECK(arena == arena && heap == heap && heap != other && static_cast<std::pmr::memory_resource&>(arena) != heap);
  for (std::pmr::memory_resource* const resource : {static_cast<std::pmr::memory_resource*>(&arena), static_cast<std::pmr::memory_resource*>(&heap)}) {
    std::pmr::map<int, std::pmr::string> map(resource);
    std::pmr::vector<std::pmr::string> vector(resource);
    std::pmr::list<long> list(resource);
    for (int i = 0; i < 5000; ++i) {
      map[i] = std::pmr::string(static_cast<std::size_t>(i % 100), 'x');
      vector.emplace_back(map[i]);
      list.push_front(i);
      if (i % 3 == 0) map.erase(i / 2), list.pop_back();
    }
    for (int i = 0; i < 5000; ++i) CHECK(vector[static_cast<std::size_t>(i)].size() == static_cast<std::size_t>(i % 100));
    CHECK(reinterpret_cast<std::uintptr_t>(resource->allocate(1, 1 << 16)) % (1 << 16) == 0);
  }
  if (nebula::is_loaded()) {
    CHECK(heap.heap()->usage().objects == 1);
    CHECK(arena.arena()->usage().objects > 5000);
  } else {
    CHECK(heap.heap() == nullptr && arena.arena() == nullptr);
  }
  arena.release();
  CHECK(arena.arena() == nullptr || arena.arena()->usage().objects == 0);
}

}  // namespace

int main(int count, char** arguments) {
  CHECK(count == 2);
  containers();
  if (std::strcmp(arguments[1], "absent") == 0) {
    CHECK(!nebula::is_loaded());
    CHECK(throws<nebula::NotLoaded>([] { nebula::Arena(); }));
    CHECK(throws<nebula::NotLoaded>([] { nebula::Heap(); }));
    CHECK(throws<nebula::NotLoaded>([] { nebula::Pool<int>(); }));
    CHECK(throws<nebula::NotLoaded>([] { nebula::Stack(100); }));
    const nebula::BudgetScope nothing(1);
    return 0;
  }
  CHECK(std::strcmp(arguments[1], "present") == 0 && nebula::is_loaded());
  arenas();
  heaps();
  pools();
  stacks();
  budgets();
  return 0;
}
