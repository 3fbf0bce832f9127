#include "heap/holes.hpp"

#include "base/start_data.hpp"
#include "budget/usage.hpp"
#include "heap/purge_news.hpp"
#include "heap/reclaim.hpp"
#include "node_heap/node_heap.hpp"
#include "os/process.hpp"
#include "spans/span_heap.hpp"

namespace nebula::heap::holes {

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::uint64_t kFirstAt = 4 * kMiB;

NEBULA_LATER_DATA constinit std::atomic<bool> is_taken{false};  // acquire when taken, release when left: what follows is its owner's
NEBULA_LATER_DATA constinit UnitIndex cursor = 0;
NEBULA_LATER_DATA constinit std::uint64_t began_with = 0;  // bytes committed
NEBULA_LATER_DATA constinit std::uint64_t ended_at = 0;  // coarse milliseconds
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> looks{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> purged_bytes{0};

bool are_wanted() { return page_policy.purge != config::PagePolicy::Purge::kNever && page_policy.reserve_bytes == 0; }

std::uint64_t a_sixteenth_above(std::uint64_t committed) { return committed < kFirstAt ? kFirstAt : committed + committed / 16; }

// Whether more than an eighth of the committed bytes is neither in use nor dirty, so free in slabs.
bool are_worth_it(std::uint64_t committed) {
  const std::uint64_t others = bytes_in_use.value() + NodeHeap::dirty_bytes_of_all() + pages::metadata_bytes();
  return committed > others && committed - others > committed / 8;
}

class Turn {
 public:
  Turn() : is_mine_(!is_taken.exchange(true, std::memory_order_acquire)) {}
  ~Turn() {
    if (is_mine_) is_taken.store(false, std::memory_order_release);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  [[nodiscard]] bool is_mine() const { return is_mine_; }

 private:
  bool is_mine_;
};

void begin(std::uint64_t committed) {
  cursor = 0;
  began_with = committed;
  due_at.store(0, kRelaxed);
  looks.fetch_add(1, kRelaxed);
}

void go_on() {
  std::size_t purged = 0;
  if (NodeHeap::purge_quiet_slabs(cursor, purged)) {
    due_at.store(a_sixteenth_above(began_with), kRelaxed);  // not of what is left: it would soon be here again
    ended_at = os::coarse_milliseconds();
  }
  purged_bytes.fetch_add(purged, kRelaxed);
  purge_news::note(PurgeReason::kIdle, purged);
}

}  // namespace

NEBULA_START_DATA constinit std::atomic<std::uint64_t> due_at{kFirstAt};

void look() {
  if (is_taken.load(kRelaxed)) return;
  const HoldGate hold;  // a fork waits for it, so the child finds nobody's turn
  const Turn turn;
  const std::uint64_t committed = process_account.committed();
  if (!turn.is_mine() || committed < due_at.load(kRelaxed)) return;
  if (due_at.load(kRelaxed) != 0) {
    if (!are_wanted()) return due_at.store(~std::uint64_t{0}, kRelaxed);
    if (!are_worth_it(committed)) return due_at.store(a_sixteenth_above(committed), kRelaxed);
    begin(committed);
  }
  go_on();
}

void tick() {
  const HoldGate hold;
  const Turn turn;
  if (!turn.is_mine() || due_at.load(kRelaxed) == 0 || !are_wanted()) return;
  const std::uint64_t committed = process_account.committed();
  // After a peak, growth is measured anew.
  if (const std::uint64_t at = a_sixteenth_above(committed + committed / 2); at < due_at.load(kRelaxed)) due_at.store(at, kRelaxed);
  if (committed < kFirstAt || os::coarse_milliseconds() - ended_at < page_policy.delay_milliseconds) return;
  if (are_worth_it(committed)) begin(committed);
  else ended_at = os::coarse_milliseconds();
}

Facts facts() { return {looks.load(kRelaxed), purged_bytes.load(kRelaxed)}; }

void reset_in_child() { is_taken.store(false, kRelaxed); }

}  // namespace nebula::heap::holes
