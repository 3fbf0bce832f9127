#include "report/holders.hpp"

#include "base/largest.hpp"
#include "budget/account.hpp"
#include "bump/block.hpp"
#include "heap/at_rest.hpp"
#include "os/process.hpp"
#include "spans/large.hpp"
#include "stats/snapshot.hpp"
#include "sync/lock.hpp"

namespace nebula::report {
namespace {

constexpr unsigned kSizesShown = 5;
constexpr unsigned kThreadsShown = 4;

// Everything stands still, if it can be had soon.
class Rest {
 private:
  const SlowPath slow_;
  const bool may_lock_ = slow_.entered() && !holds_every_lock && heap_map.base != 0;
  using Wish = heap::AllLocks::Wish;
  const heap::AllLocks locks_{stats::kLockPatienceMilliseconds, may_lock_ ? Wish::kTake : Wish::kLeave};
};

struct Sums {
  unsigned sizes = 0;  // that hold most
  std::uint64_t pooled_bytes = 0;
  std::uint64_t depot_bytes = 0;
  bump::Contents in_blocks;
};

Sums look(std::span<SizeHolder> largest) {
  Sums sums;
  const large::Counts large = large::counts();
  keep_largest(largest, sums.sizes, {0, at_least_zero(large.allocations, large.frees), large.live_bytes});
  sums.in_blocks = bump::contents_of_all();
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    const NodeHeap::ClassFacts facts = NodeHeap::facts_of_all(c);
    const thread_heap::PoolFacts pools = thread_heap::pool_facts(c);
    const std::uint64_t live = heap::totals_of(facts, pools, sampled::counts(c)).live;
    keep_largest(largest, sums.sizes, {slot_size(c), live, live * slot_size(c)});
    sums.pooled_bytes += pools.pooled * slot_size(c);
    sums.depot_bytes += facts.in_depots * slot_size(c);
  }
  return sums;
}

// The name of a thread of this process, as the program has set it; empty when it is gone.
void append_thread(Text& text, int thread_id) {
  TextOf<64> path;
  path << "/proc/self/task/";
  path.plain(static_cast<std::uint64_t>(thread_id)) << "/comm" << '\0';
  char name[32];
  std::size_t length = os::read_file(path.view().data(), name);
  while (length != 0 && name[length - 1] == '\n') --length;
  text << (length != 0 ? std::string_view(name, length) : std::string_view("(ended)")) << " (";
  text.plain(static_cast<std::uint64_t>(thread_id)) << ')';
}

}  // namespace

unsigned largest_sizes(std::span<SizeHolder> result) {
  const Rest rest;
  return look(result).sizes;
}

void describe_holders(Text& text) {
  SizeHolder sizes[kSizesShown];
  thread_heap::Holder threads[kThreadsShown];
  Sums sums;
  unsigned thread_count;
  std::uint64_t dirty;
  {
    const Rest rest;
    sums = look(sizes);
    thread_count = thread_heap::largest_holders(threads);
    dirty = NodeHeap::dirty_bytes_of_all();
  }
  text << "  live: ";
  for (unsigned i = 0; i < sums.sizes; ++i) {
    if (i != 0) text << "; ";
    text << sizes[i].bytes << " bytes in " << sizes[i].objects;
    if (sizes[i].slot_size == 0) text << " large objects";
    else text << " of size " << sizes[i].slot_size;
  }
  text << (sums.sizes == 0 ? "nothing" : "");
  if (sums.in_blocks.live != 0) text << "; " << sums.in_blocks.live_bytes << " bytes in " << sums.in_blocks.live << " in bump blocks";
  text << '\n';
  text << "  free: " << sums.pooled_bytes << " bytes in pools, " << sums.depot_bytes << " in depots, " << dirty << " in dirty spans\n";
  if (thread_count == 0) return;
  text << "  threads, by small objects allocated and not freed: ";
  for (unsigned i = 0; i < thread_count; ++i) {
    if (i != 0) text << "; ";
    append_thread(text, threads[i].thread_id);
    text << ' ' << threads[i].bytes << " bytes";
  }
  text << '\n';
}

}  // namespace nebula::report
