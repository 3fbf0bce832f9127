#include "report/holders.hpp"

#include <utility>

#include "budget/account.hpp"
#include "node_heap/node_heap.hpp"
#include "os/process.hpp"
#include "spans/large.hpp"
#include "sync/lock.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula::report {
namespace {

constexpr unsigned kSizesShown = 5;
constexpr unsigned kThreadsShown = 4;
constexpr unsigned kLockPatienceMilliseconds = 20;

// All locks, as far as they can be had soon, so that the numbers are of one moment.
class Rest {
 public:
  Rest() {
    if (!slow_.entered() || holds_every_lock || heap_map.base == 0) return;
    pools_ = thread_heap::try_lock_all_for(kLockPatienceMilliseconds);
    node_ = pools_ && NodeHeap::try_lock_all_for(kLockPatienceMilliseconds);
  }
  ~Rest() {
    if (node_) NodeHeap::unlock_all();
    if (pools_) thread_heap::unlock_all();
  }
  Rest(const Rest&) = delete;
  Rest& operator=(const Rest&) = delete;

 private:
  const SlowPath slow_;
  bool pools_ = false;
  bool node_ = false;
};

void insert(std::span<SizeHolder> result, unsigned& count, SizeHolder holder) {
  if (holder.bytes == 0) return;
  for (unsigned i = 0; i < count; ++i)
    if (result[i].bytes < holder.bytes) std::swap(result[i], holder);
  if (count < result.size()) result[count++] = holder;
}

unsigned collect_sizes(std::span<SizeHolder> result) {
  unsigned count = 0;
  const large::Counts large = large::counts();
  insert(result, count, {0, at_least_zero(large.allocations, large.frees), large.live_bytes});
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    const NodeHeap::ClassFacts facts = NodeHeap::facts_of_all(c);
    const std::uint64_t live = at_least_zero(facts.slots_outside, facts.in_depots + thread_heap::pool_facts(c).pooled);
    insert(result, count, {slot_size(c), live, live * slot_size(c)});
  }
  return count;
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
  return collect_sizes(result);
}

void describe_holders(Text& text) {
  SizeHolder sizes[kSizesShown];
  thread_heap::Holder threads[kThreadsShown];
  unsigned size_count;
  unsigned thread_count;
  std::uint64_t pooled = 0;
  std::uint64_t in_depots = 0;
  std::uint64_t dirty;
  {
    const Rest rest;
    size_count = collect_sizes(sizes);
    thread_count = thread_heap::largest_holders(threads);
    for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
      const SizeClass c = size_class(i);
      pooled += thread_heap::pool_facts(c).pooled * slot_size(c);
      in_depots += NodeHeap::facts_of_all(c).in_depots * slot_size(c);
    }
    dirty = NodeHeap::dirty_bytes_of_all();
  }
  text << "nebula:   live: ";
  for (unsigned i = 0; i < size_count; ++i) {
    if (i != 0) text << "; ";
    text << sizes[i].bytes << " bytes in " << sizes[i].objects;
    if (sizes[i].slot_size == 0) text << " large objects";
    else text << " of size " << sizes[i].slot_size;
  }
  text << (size_count == 0 ? "nothing\n" : "\n");
  text << "nebula:   free: " << pooled << " bytes in pools, " << in_depots << " in depots, " << dirty << " in dirty spans\n";
  if (thread_count == 0) return;
  text << "nebula:   threads, by small objects allocated and not freed: ";
  for (unsigned i = 0; i < thread_count; ++i) {
    if (i != 0) text << "; ";
    append_thread(text, threads[i].thread_id);
    text << ' ' << threads[i].bytes << " bytes";
  }
  text << '\n';
}

}  // namespace nebula::report
