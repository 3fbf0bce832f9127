#include "stats/advice.hpp"

#include "base/units.hpp"
#include "budget/account.hpp"
#include "diag/text.hpp"

namespace nebula::stats {
namespace {

using Words = TextOf<400>;

// Below these, nothing is worth a sentence.
constexpr std::uint64_t kManyBytes = 4 * kMiB;
constexpr std::uint64_t kManyObjects = 10'000;

std::uint64_t percent(std::uint64_t part, std::uint64_t of) {
  return of == 0 ? 0 : part * 100 / of;
}

// Empty slabs go to whoever needs them.
std::uint64_t bytes_no_other_size_has(const ClassRow& row) {
  return row.slabs == 0 ? 0 : row.slab_bytes - row.slab_bytes / row.slabs * row.empty_slabs;
}

// The class that holds most memory in which nearly nothing is live.
void about_sparse_class(const Snapshot& s, void* target, Say say) {
  constexpr std::uint64_t kSparsePercent = 25;
  const ClassRow* worst = nullptr;
  std::uint64_t worst_held = 0;
  SizeClass worst_class{};
  s.for_each_class_used([&](SizeClass c, const ClassRow& row) {
    const std::uint64_t held = bytes_no_other_size_has(row);
    if (held < kManyBytes || percent(held, s.committed_bytes) < 10) return;
    if (percent(row.live_bytes, held) >= kSparsePercent) return;
    if (worst != nullptr && held - row.live_bytes <= worst_held - worst->live_bytes) return;
    worst = &row;
    worst_held = held;
    worst_class = c;
  });
  if (worst == nullptr) return;
  Words words;
  words << "size " << slot_size(worst_class) << ": " << percent(worst->live_bytes, worst_held)
        << " % of " << worst_held << " bytes in slabs that are not empty are live; after a peak, what lives on keeps these slabs, "
        << "and no other size can use them";
  say(target, words.view());
}

// One thread frees what another allocates.
void about_wandering_objects(const Snapshot& s, void* target, Say say) {
  const HeapRow* giver = nullptr;
  const HeapRow* taker = nullptr;
  for (unsigned i = 0; i < s.heaps_shown; ++i) {
    const HeapRow& row = s.heaps[i];
    if (row.allocations > 2 * row.frees && row.allocations - row.frees >= kManyObjects &&
        (giver == nullptr || row.allocations - row.frees > giver->allocations - giver->frees))
      giver = &row;
    if (row.frees > 2 * row.allocations && row.frees - row.allocations >= kManyObjects &&
        (taker == nullptr || row.frees - row.allocations > taker->frees - taker->allocations))
      taker = &row;
  }
  if (giver == nullptr || taker == nullptr) return;
  Words words;
  words << "thread heap " << std::uint64_t{taker->index} << " freed " << taker->frees - taker->allocations
        << " objects more than it allocated, thread heap " << std::uint64_t{giver->index} << " allocated "
        << giver->allocations - giver->frees << " more than it freed: objects are handed from one thread to another, "
        << s.deposits << " batches of them through depots";
  say(target, words.view());
}

void about_budget(const Snapshot& s, void* target, Say say) {
  constexpr std::uint64_t kNearPercent = 90;
  const Budget& budget = s.budget;
  if (budget.hard_limit == kNoLimit) return;
  Words words;
  if (budget.refusals != 0)
    words << "the budget refused " << budget.refusals << " requests, the largest of " << budget.largest_refused_bytes << " bytes";
  else if (budget.hits != 0)
    words << "the budget was met " << budget.hits << " times and reclaiming sufficed: time goes into it there";
  else if (percent(s.committed_peak_bytes, budget.hard_limit) >= kNearPercent)
    words << "the budget was nearly met: the peak is " << percent(s.committed_peak_bytes, budget.hard_limit) << " % of it";
  if (words.length() != 0) say(target, words.view());
}

void about_system(const Snapshot& s, void* target, Say say) {
  constexpr std::uint64_t kWantsHugePages = 64 * kMiB;
  if (s.huge_page_mode == "never" && s.committed_peak_bytes >= kWantsHugePages) {
    Words words;
    words << "the kernel refuses huge pages (/sys/kernel/mm/transparent_hugepage/enabled is never), which a heap of "
          << s.committed_peak_bytes << " bytes would gain from";
    say(target, words.view());
  }
  if (s.heap.system_refusals != 0) {
    Words words;
    words << "the system refused memory for " << s.heap.system_refusals << " requests";
    say(target, words.view());
  }
  if (s.process.swapped_bytes != kUnknown && s.process.swapped_bytes >= kManyBytes) {
    Words words;
    words << s.process.swapped_bytes << " bytes of the process are swapped out";
    say(target, words.view());
  }
}

void about_waste(const Snapshot& s, void* target, Say say) {
  constexpr std::uint64_t kEnoughSamples = 100;
  constexpr std::uint64_t kMuchPercent = 20;
  if (s.sampled_requests >= kEnoughSamples && s.internal_waste_bytes >= kManyBytes &&
      percent(s.internal_waste_bytes, s.all_small.live_bytes) >= kMuchPercent) {
    Words words;
    words << "about " << percent(s.internal_waste_bytes, s.all_small.live_bytes)
          << " % of the bytes of small objects were not asked for: the sizes lie just above those of the size classes";
    say(target, words.view());
  }
  if (s.misuse.double_frees + s.misuse.invalid_frees != 0) {
    Words words;
    words << s.misuse.double_frees + s.misuse.invalid_frees << " frees were misuse: bugs of the program, ignored as asked";
    say(target, words.view());
  }
}

}  // namespace

void for_each_advice(const Snapshot& snapshot, void* target, Say say) {
  about_sparse_class(snapshot, target, say);
  about_wandering_objects(snapshot, target, say);
  about_budget(snapshot, target, say);
  about_waste(snapshot, target, say);
  about_system(snapshot, target, say);
}

}  // namespace nebula::stats
