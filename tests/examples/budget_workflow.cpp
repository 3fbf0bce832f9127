// A workflow under a budget: each job first makes sure of the memory it needs, all at once. One that would not fit learns it before it
// has begun, and is done in smaller pieces; nothing fails halfway.
#include <nebula/nebula.hpp>

#include <cstdio>
#include <numeric>
#include <span>

namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

// The sum of so many numbers, which are all in memory at the same time.
long sum_of(nebula::Arena& arena, std::size_t count) {
  const std::span<long> numbers(arena.make_array<long>(count), count);
  std::iota(numbers.begin(), numbers.end(), 1);
  return std::accumulate(numbers.begin(), numbers.end(), 0L);
}

void do_job(std::size_t bytes) {
  std::size_t pieces = 1;
  for (;;) {
    nebula::Arena arena;  // ends with the attempt, and all it holds
    try {
      arena.reserve(bytes / pieces);
    } catch (const std::bad_alloc&) {
      if (pieces == 64) throw;
      pieces *= 2;
      continue;
    }
    long sum = 0;
    for (std::size_t piece = 0; piece < pieces; ++piece) {
      const nebula::ArenaScope scope(arena);
      sum += sum_of(arena, bytes / pieces / sizeof(long));
    }
    std::printf("a job of %zu MiB in %zu piece%s: %s\n", bytes / kMiB, pieces, pieces == 1 ? "" : "s", sum > 0 ? "done" : "wrong");
    return;
  }
}

}  // namespace

int main() {
  if (!nebula::is_loaded()) {
    std::puts("this example needs libnebula.so");
    return 0;
  }
  nebula_budget budget = {};
  budget.size = sizeof budget;
  nebula_budget_get(&budget);
  const nebula::BudgetScope limit(budget.committed_bytes + 24 * kMiB);
  for (const std::size_t size : {4 * kMiB, 20 * kMiB, 64 * kMiB}) do_job(size);
  nebula_budget_get(&budget);
  std::printf("the budget was %s\n", budget.peak_bytes <= budget.limit_bytes ? "kept" : "exceeded");
}
