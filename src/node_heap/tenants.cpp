#include "node_heap/tenants.hpp"

#include "base/start_data.hpp"
#include "budget/heap_accounts.hpp"
#include "diag/message.hpp"
#include "node_heap/node_heap.hpp"

namespace nebula::tenants {

NEBULA_START_DATA constinit std::atomic<bool> any{false};

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

constinit Lock making{LockRank::kTenants};
constinit std::atomic<std::uint64_t> refused_for_room{0};

// Found without the lock, filled under it, never emptied: a tenant keeps his heaps. A word is the key above the heap's number.
constexpr unsigned kSlots = 2 * kNodeHeapsMost;
constinit std::atomic<std::uint64_t> table[kSlots] = {};
constinit Tenant tenant_of[kNodeHeapsMost] = {};  // written before the heap is counted

std::uint64_t key_of(Tenant tenant, HeapId place) {
  static_assert(kPlacesMost <= 0x100);
  return (std::uint64_t{1} << 40 | std::uint64_t{tenant.thread} << 16 | std::uint64_t{tenant.module} << 8 | place) << 16;
}

std::atomic<std::uint64_t>& slot_of(std::uint64_t key) {
  const auto hash = static_cast<unsigned>(key * 0x9e37'79b9'7f4a'7c15 >> 40);
  for (unsigned i = 0;; ++i) {  // half of it stays empty
    std::atomic<std::uint64_t>& slot = table[(hash + i) % kSlots];
    // acquire: pairs with the release in make, so that the heap is seen whole.
    const std::uint64_t found = slot.load(std::memory_order_acquire);
    if (found == 0 || found >> 16 == key >> 16) return slot;
  }
}

HeapId find(Tenant tenant, HeapId place) {
  const std::uint64_t found = slot_of(key_of(tenant, place)).load(std::memory_order_acquire);
  return found == 0 ? kNoHeap : static_cast<HeapId>(found & 0xffff);
}

void say_that_there_are_too_many() {
  static constinit std::atomic<bool> said{false};  // relaxed: once is enough
  if (said.exchange(true, kRelaxed)) return;
  say("there are more threads with a limit of their own than Nebula keeps apart; the others run without");
}

HeapId make(Tenant tenant, HeapId place) {
  LockGuard guard(making);
  std::atomic<std::uint64_t>& slot = slot_of(key_of(tenant, place));
  if (const std::uint64_t found = slot.load(kRelaxed); found != 0) return static_cast<HeapId>(found & 0xffff);
  const auto next = static_cast<HeapId>(NodeHeap::count());
  tenant_of[next] = tenant;
  heap_accounts::Accounts accounts = heap_accounts::of(place);
  if (tenant.thread != 0) accounts.thread = &thread_limits::account(tenant.thread);
  if (tenant.module != module_limits::kNone) accounts.module = &module_limits::accounts()[tenant.module - 1u];
  heap_accounts::set(next, accounts, 0);
  using HasDepots = NodeHeap::HasDepots;
  const HeapId heap = NodeHeap::add_tenant(place, tenant.module == module_limits::kNone ? HasDepots::kYes : HasDepots::kNo);
  if (heap != kNoHeap) slot.store(key_of(tenant, place) | heap, std::memory_order_release);
  return heap;
}

template <class Visitor>
void for_each_heap_of(thread_limits::Id id, Visitor visit) {
  for (unsigned heap = NodeHeap::places(); heap < NodeHeap::count(); ++heap)
    if (tenant_of[heap].thread == id) visit(NodeHeap::at(static_cast<HeapId>(heap)));
}

void give_back_idle(thread_limits::Id id) {
  for_each_heap_of(id, [](NodeHeap& heap) {
    heap.drain_depots(NodeHeap::Depots::kAll);
    heap.release_empty_slabs();
  });
}

// Whether nothing of what its thread allocated is left: all that is charged are dirty pages.
bool is_empty(thread_limits::Id id) {
  give_back_idle(id);
  std::uint64_t dirty = 0;
  for_each_heap_of(id, [&](NodeHeap& heap) { dirty += heap.spans().dirty_bytes(); });
  return thread_limits::account(id).committed() == dirty;
}

// The first of those that the next thread by this rule may go on with, so that threads which come and go share few; 0: none.
// Under the lock, as below.
thread_limits::Id find_inheritable(thread_limits::Rule rule) {
  for (unsigned i = 1; i <= thread_limits::count(); ++i)
    if (const auto id = static_cast<thread_limits::Id>(i); thread_limits::can_be_inherited(id, rule)) return id;
  return 0;
}

// An account whose thread has ended and left nothing; 0 when there is none among the next few.
thread_limits::Id find_empty() {
  constexpr unsigned kLooks = 16;
  static constinit unsigned at = 0;
  const unsigned count = thread_limits::count();
  unsigned looks = 0;
  for (unsigned i = 0; i < count && looks < kLooks; ++i) {
    at = at % count + 1;
    const auto id = static_cast<thread_limits::Id>(at);
    if (!thread_limits::owner_of(id).has_ended) continue;
    if (is_empty(id)) return id;
    ++looks;
  }
  return 0;
}

}  // namespace

Lock& lock() { return making; }

bool begin() {
  if (!thread_limits::are_set() && !module_limits::are_set()) return true;
  if (pages::views.load(kRelaxed) == 0 && !NodeHeap::make(1)) return false;
  any.store(true, kRelaxed);
  return true;
}

HeapId heap_for(Tenant tenant, HeapId place) {
  if (tenant.is_nobody()) return place;
  const HeapId heap = find(tenant, place);
  if (heap != kNoHeap) [[likely]] return heap;
  if (NodeHeap::has_room_for_tenants()) return make(tenant, place);
  refused_for_room.fetch_add(1, kRelaxed);
  say_that_there_are_too_many();
  return place;
}

bool widen(HeapId heap) {
  NodeHeap& from = NodeHeap::at(heap);
  const NodeHeap& place = NodeHeap::at(from.place());
  if (!from.is_tenants() || refused_by == nullptr || refused_by->kind() != config::AccountKind::kNode) return false;
  for (unsigned i = 0; i < place.helpers(); ++i) {
    const HeapId helping = place.helper(i).id();
    if (find(tenant_of[heap], helping) == kNoHeap)
      return NodeHeap::has_room_for_tenants() && make(tenant_of[heap], helping) != kNoHeap;
  }
  return false;
}

thread_limits::Id enter(thread_limits::Rule rule) {
  if (rule == 0) return 0;
  LockGuard guard(making);
  if (const thread_limits::Id inherited = find_inheritable(rule); inherited != 0) {
    thread_limits::inherit(inherited);
    return inherited;
  }
  if (const thread_limits::Id empty = find_empty(); empty != 0) {
    thread_limits::begin_again(empty, rule);
    // Dirty pages of the last owner may be more than this one may have.
    const Account& account = thread_limits::account(empty);
    if (account.committed() > account.hard_limit())
      for_each_heap_of(empty, [](NodeHeap& heap) { heap.spans().purge(SpanHeap::Purge::kEverything); });
    return empty;
  }
  const thread_limits::Id id = thread_limits::begin_fresh(rule);
  if (id != 0) return id;
  thread_limits::count_without();
  say_that_there_are_too_many();
  return 0;
}

void leave(thread_limits::Id& id) {
  if (id == 0) return;
  LockGuard guard(making);  // in place of a gate, which nobody holds here: a fork waits for it
  give_back_idle(id);
  thread_limits::end(id);
  id = 0;  // under the lock, too, or a child of fork would end it once more, when it may be another thread's
}

HeapId helper_of(HeapId heap, HeapId helping_place) { return find(tenant_of[heap], helping_place); }

std::uint64_t without_heap() { return refused_for_room.load(kRelaxed); }

}  // namespace nebula::tenants
