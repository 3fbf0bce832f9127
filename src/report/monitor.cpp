#include "report/monitor.hpp"

#include <errno.h>

#include <atomic>

#include "base/start_data.hpp"
#include "budget/tree.hpp"
#include "os/process.hpp"

namespace nebula::monitor {
namespace {

using Callback = void (*nebula_monitor::*)(void*, const nebula_event*);

// A thread that is about to read a slot's table counts itself in before, and who empties the slot looks at the count after: of the
// two, one sees the other (sequentially consistent, all four of these), so a table that was removed is in no thread's hands
// once the count was zero.
struct Slot {
  std::atomic<const nebula_monitor*> table{nullptr};
  std::atomic<std::uint32_t> inside{0};
};
NEBULA_LATER_DATA constinit Slot slots[kMost] = {};
// The slot whose callback this thread is in.
constinit thread_local Slot* telling = nullptr;

// As many of the callbacks as the program's struct has room for.
bool has(const nebula_monitor& table, Callback callback) {
  const auto* const begin = reinterpret_cast<const char*>(&table);
  const auto* const end = reinterpret_cast<const char*>(&(table.*callback) + 1);
  return static_cast<std::size_t>(end - begin) <= table.size && table.*callback != nullptr;
}

void tell(Callback callback, const nebula_event& event) {
  if (telling != nullptr) return;
  const int kept = errno;
  for (Slot& slot : slots) {
    if (slot.table.load(std::memory_order_relaxed) == nullptr) continue;
    slot.inside.fetch_add(1);
    if (const nebula_monitor* const table = slot.table.load(); table != nullptr && has(*table, callback)) {
      telling = &slot;
      (table->*callback)(table->context, &event);
      telling = nullptr;
    }
    slot.inside.fetch_sub(1);
  }
  errno = kept;
}

static_assert(static_cast<unsigned>(config::AccountKind::kProcess) == NEBULA_ACCOUNT_PROCESS);
static_assert(static_cast<unsigned>(config::AccountKind::kTree) == NEBULA_ACCOUNT_TREE);
static_assert(static_cast<unsigned>(config::AccountKind::kNode) == NEBULA_ACCOUNT_NODE);
static_assert(static_cast<unsigned>(config::AccountKind::kThread) == NEBULA_ACCOUNT_THREAD);
static_assert(static_cast<unsigned>(config::AccountKind::kSize) == NEBULA_ACCOUNT_SIZE);
static_assert(static_cast<unsigned>(config::AccountKind::kModule) == NEBULA_ACCOUNT_MODULE);

nebula_event event_of(const Account& account, std::uint64_t limit) {
  nebula_event event = {};
  event.size = sizeof event;
  event.account = static_cast<std::uint32_t>(account.kind());
  event.account_name = config::name_of(account.kind());
  event.reason_name = "none";
  event.charged_bytes = account.kind() == config::AccountKind::kTree ? tree::total() : account.committed();
  event.limit_bytes = limit;
  return event;
}

void on_purge(heap::PurgeReason reason, std::uint64_t bytes) {
  static constexpr std::uint32_t kReasons[] = {NEBULA_REASON_CALL,       NEBULA_REASON_IDLE,   NEBULA_REASON_SOFT_LIMIT,
                                               NEBULA_REASON_HARD_LIMIT, NEBULA_REASON_SYSTEM, NEBULA_REASON_PRESSURE};
  static_assert(sizeof kReasons / sizeof kReasons[0] == heap::kPurgeReasons);
  nebula_event event = event_of(process_account, process_account.hard_limit());
  event.reason = kReasons[static_cast<unsigned>(reason)];
  event.reason_name = heap::name_of(reason);
  event.purged_bytes = bytes;
  tell(&nebula_monitor::purge, event);
}

}  // namespace

Added add(const nebula_monitor* table) {
  for (const Slot& slot : slots)
    if (slot.table.load() == table) return Added::kThereAlready;
  for (Slot& slot : slots) {
    const nebula_monitor* none = nullptr;
    if (!slot.table.compare_exchange_strong(none, table)) continue;
    heap::add_purge_listener(on_purge);
    return Added::kDone;
  }
  return Added::kNoRoom;
}

bool remove(const nebula_monitor* table) {
  for (Slot& slot : slots) {
    const nebula_monitor* expected = table;
    if (!slot.table.compare_exchange_strong(expected, nullptr)) continue;
    while (telling == nullptr && slot.inside.load() != 0) os::sleep_for(1);
    return true;
  }
  return false;
}

void on_budget_event(const heap::BudgetEvent& event) {
  using What = heap::BudgetEvent::What;
  const Account& account = event.account;
  switch (event.what) {
    case What::kSoftLimit: return tell(&nebula_monitor::soft_limit, event_of(account, account.soft_limit()));
    case What::kHardLimit: return tell(&nebula_monitor::hard_limit, event_of(account, account.hard_limit()));
    default: break;
  }
  nebula_event refusal = event_of(account, account.hard_limit());
  refusal.requested_bytes = event.requested_bytes;
  if (event.what == What::kSystemRefusal) {
    refusal.account = NEBULA_ACCOUNT_SYSTEM;
    refusal.account_name = "system";
    refusal.limit_bytes = 0;
  }
  tell(&nebula_monitor::refusal, refusal);
}

void reset_in_child() {
  for (Slot& slot : slots) slot.inside.store(telling == &slot ? 1 : 0);
}

}  // namespace nebula::monitor
