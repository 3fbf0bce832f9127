// Every number that a report shows, taken together: the one source of all its forms, of mallinfo and of malloc_info. What
// another room has to tell is a field here, filled by take(); the forms (src/report) read nothing else.
//
// A snapshot is of one moment when the locks could be had in time (at_rest); else its parts are of slightly different ones.
// Allocates nothing. Not for the stack: a snapshot is larger than a small one.
#pragma once

#include <bit>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>

#include "diag/misuse.hpp"
#include "budget/account.hpp"
#include "config/budgets.hpp"
#include "config/page_policy.hpp"
#include "heap/auto_routes.hpp"
#include "heap/heap.hpp"
#include "heap/holes.hpp"
#include "heap/reclaim.hpp"
#include "heap/requests.hpp"
#include "os/process.hpp"
#include "pages/locking.hpp"
#include "pages/region.hpp"
#include "profiling/sites.hpp"
#include "size_class/size_class.hpp"
#include "spans/large.hpp"
#include "spans/reserve.hpp"
#include "stats/nodes.hpp"
#include "stats/timeline.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula::stats {

// How long a report waits for a lock.
inline constexpr unsigned kLockPatienceMilliseconds = 20;

// What the system did not tell, and limits that are not set.
inline constexpr std::uint64_t kUnknown = ~std::uint64_t{0};

// Objects of one kind: a size class, or a sum over some.
struct Objects {
  std::uint64_t allocations = 0;
  std::uint64_t frees = 0;
  std::uint64_t live = 0;
  std::uint64_t live_bytes = 0;
  std::uint64_t slabs = 0;
  std::uint64_t slab_bytes = 0;
  std::uint64_t empty_slabs = 0;    // of slabs: whoever needs memory gets them
  std::uint64_t sampled_bytes = 0;  // of live_bytes: what a profile follows lies in no slab

  void add(const Objects& other);
};

struct ClassRow : Objects {
  std::uint64_t pooled = 0;    // slots
  std::uint64_t in_depot = 0;  // slots
  std::uint64_t refills = 0;   // from slabs
  std::uint64_t flushes = 0;   // to slabs
  std::uint64_t lock_waits = 0;
  heap::Requests requests;                 // a sample of them
  std::uint64_t internal_waste_bytes = 0;  // of live_bytes, what was not asked for: estimated from the sample
};

// What pools did: one thread heap's, or those of some together.
struct Pools {
  std::uint64_t allocations = 0;
  std::uint64_t frees = 0;  // misuse included
  std::uint64_t pooled_bytes = 0;
  std::uint64_t refills = 0;
  std::uint64_t flushes = 0;

  void add(const Pools& other);
};
struct HeapRow : Pools {
  std::uint32_t index = 0;
  int thread_id = 0;
  bool in_use = false;
};
inline constexpr unsigned kHeapRows = 32;

// What comes the bump route.
struct Bump : Objects {
  std::uint64_t allocated_bytes = 0;
  std::uint64_t dead_bytes = 0;  // committed in blocks, and no object's
  std::uint64_t rewinds = 0;
  std::uint64_t reuses = 0;      // blocks used again from their start
  std::uint64_t blocks = 0;
  std::uint64_t block_bytes = 0;  // of address
  std::uint64_t blocks_taken = 0;
  std::uint64_t limit_bytes = 0;
  std::uint64_t passed_on = 0;   // times that the limit left no further block
};

struct Process {
  std::string_view program;
  int id = 0;
  std::uint64_t elapsed_milliseconds = 0;
  os::Usage usage;
  std::uint64_t resident_bytes = 0;  // or kUnknown
  std::uint64_t swapped_bytes = 0;   // likewise
};

struct Budget : Account::Counts {
  std::uint64_t hard_limit = 0;  // kNoLimit: none
  std::uint64_t soft_limit = 0;
  std::uint64_t reserve_bytes = 0;  // the limit's last part, for small requests
  std::uint64_t reserve_used_bytes = 0;
};

// An account beside that of the process.
struct AccountRow : Account::Counts {
  config::AccountKind kind = {};
  unsigned node = 0;             // of a node's
  char name[32] = {};            // of a thread's or module's
  int thread_id = 0;             // of a thread's
  bool has_ended = false;        // the same
  std::uint64_t inherited_bytes = 0;  // the same: charged for what an earlier thread left, when this one began
  std::uint64_t first_size = 0;  // of an account of sizes
  std::uint64_t last_size = 0;   // kNoLimit: no end
  std::uint64_t hard_limit = 0;
  std::uint64_t charged_bytes = 0;
  std::uint64_t share_bytes = 0;  // of a tree's: this process's
  std::uint64_t processes = 0;    // of a tree
  std::uint64_t found_dead = 0;   // the same
  std::uint64_t peak_bytes = 0;
};

inline constexpr unsigned kThreadAccountRows = 16;  // those with most charged
inline constexpr unsigned kAccountRows =
    1 + config::kNodeLimitsMost + kThreadAccountRows + config::kSizeLimitsMost + config::kNamedLimitsMost;

// All accounts of threads together.
struct ThreadAccounts {
  bool are_set = false;
  std::uint64_t count = 0;
  std::uint64_t shown = 0;
  std::uint64_t charged_bytes = 0;
  std::uint64_t without = 0;  // threads that have none, and requests that were charged to none, because there are too many
  Account::Counts counts;     // those of threads that had accounts before others got them included
};

struct Misuse {
  std::uint64_t double_frees = 0;
  std::uint64_t invalid_frees = 0;
  std::uint64_t foreign_pointers = 0;
  std::uint64_t foreign_to_libc = 0;
};

struct Profile {
  std::uint64_t period_bytes = 0;  // 0: none is taken
  profiling::sites::Counts counts;
  profiling::sites::Totals totals;  // estimates
  // By the length of their lives: of what was freed, and of what is alive so far. The second adds up to totals.live where
  // all is at rest.
  profiling::Sums freed_by_life[profiling::sites::kLifetimes];
  profiling::Sums live_by_age[profiling::sites::kLifetimes];
};

// Long arrays last, what most programs need least at the very end: a report writes and reads only the pages of what was used.
struct Snapshot {
  bool is_taken = false;  // at least once; until then it is as it begins
  Process process;
  bool at_rest = false;  // all locks were held

  Objects all_small;
  Objects large;
  Bump bump;
  bool has_routes = false;
  Objects in_handlers;
  Objects total;

  // The ladder: these and total.live_bytes add up to committed_bytes, which the account has and no line is taken from.
  std::uint64_t pooled_bytes = 0;
  std::uint64_t depot_bytes = 0;
  std::uint64_t slab_free_bytes = 0;
  std::uint64_t dirty_bytes = 0;  // committed, and no object's
  std::uint64_t metadata_bytes = 0;
  std::uint64_t committed_bytes = 0;
  std::uint64_t mapped_bytes = 0;

  std::uint64_t committed_peak_bytes = 0;  // each read once, so that all lines say the same
  std::uint64_t committed_peak_at_milliseconds = 0;
  std::uint64_t in_use_peak_bytes = 0;

  // What programs did not ask for and yet got.
  std::uint64_t internal_waste_bytes = 0;  // of small objects
  std::uint64_t sampled_requests = 0;      // for these
  heap::Requests large_requests;
  std::uint64_t large_granted_bytes = 0;  // to them, in whole pages

  thread_heap::Facts threads;
  unsigned heaps_shown = 0;
  Pools other_heaps;         // the sum of the others
  std::uint64_t direct_allocations = 0;  // through no pool
  std::uint64_t direct_frees = 0;
  // The frees of all pools and through none, less these, are all_small.frees.
  std::uint64_t misused_frees = 0;
  std::uint64_t deposits = 0;  // batches
  std::uint64_t withdrawals = 0;
  std::uint64_t lock_waits = 0;
  Budget budget;
  unsigned account_count = 0;
  ThreadAccounts thread_accounts;
  heap::StepFacts steps[static_cast<unsigned>(heap::Step::kEnd)];
  heap::ReclaimFacts reclaim;
  heap::holes::Facts holes;
  heap::Facts heap;
  pages::PurgeCounts purges = {};
  config::PagePolicy page_policy = {.delay_milliseconds = 0};  // all zero, so that no file has to be read for one
  reserve::Facts reserve;
  locking::Facts locked;
  std::uint64_t grown_in_place = 0;
  std::uint64_t huge_regions = 0;
  SpanHeap::HugeTlb huge_tlb;  // of all heaps
  std::string_view huge_page_mode;
  Misuse misuse;
  Profile profile;
  std::span<const Point> timeline;  // put here by whoever holds it

  std::uint64_t classes_used[(kClassEnd + 63) / 64] = {};  // those whose rows say anything
  HeapRow heaps[kHeapRows];  // those with most allocations and frees, by index
  heap::auto_routes::Facts auto_routes;  // times since the start of the process
  Nodes nodes;
  ClassRow classes[kClassEnd];
  AccountRow accounts[kAccountRows];  // in the order of the kinds

  [[nodiscard]] ClassRow& row_of(SizeClass c) {
    classes_used[index_of(c) / 64] |= std::uint64_t{1} << index_of(c) % 64;
    return classes[index_of(c)];
  }
  // By rising size, of classes that have objects or had some, or slabs.
  template <class Visit>
  void for_each_class_used(Visit visit) const {
    for (unsigned word = 0; word < std::size(classes_used); ++word) {
      for (std::uint64_t bits = classes_used[word]; bits != 0; bits &= bits - 1) {
        const unsigned i = word * 64 + static_cast<unsigned>(std::countr_zero(bits));
        if (classes[i].allocations != 0 || classes[i].slabs != 0) visit(size_class(i), classes[i]);
      }
    }
  }
  [[nodiscard]] std::uint64_t sum_of_lines() const {
    return total.live_bytes + pooled_bytes + depot_bytes + slab_free_bytes + bump.dead_bytes + dirty_bytes +
           metadata_bytes;
  }
  // By how much the ladder does not add up.
  [[nodiscard]] std::uint64_t difference() const {
    return sum_of_lines() > committed_bytes ? sum_of_lines() - committed_bytes : committed_bytes - sum_of_lines();
  }
  [[nodiscard]] std::uint64_t external_bytes() const {
    return at_least_zero(committed_bytes, total.live_bytes + metadata_bytes);
  }
  [[nodiscard]] std::uint64_t untouched_bytes() const {
    return at_least_zero(mapped_bytes, committed_bytes);
  }
};

[[nodiscard]] std::string_view name_of(heap::Step step);

// Marks the start of the process, from which times are counted.
void begin();
void note_fork();
// Asks for the process's number now, because a sandbox may not let it be asked for later.
void note_process();
[[nodiscard]] int process_id();
[[nodiscard]] std::uint64_t elapsed_milliseconds();

// Whether the caller may hold a lock of the allocator: one who cannot know is asked inside a slow path.
enum class Caller { kOutsideSlowPath, kHoldsNoLock };
void take(Snapshot& snapshot, Caller caller = Caller::kOutsideSlowPath);

}  // namespace nebula::stats
