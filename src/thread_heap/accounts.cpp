// Under which account a thread allocates, and so where.
#include "node_heap/placement.hpp"
#include "os/process.hpp"
#include "thread_heap/registry.hpp"

namespace nebula {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// The account by its thread's name: looked at when some thread was given one, and after a while, because threads can name
// themselves without our seeing it. True: it has another one now. Holds no lock.
bool attend_account(ThreadHeap& heap) {
  constexpr std::uint64_t kNamedMilliseconds = 10;
  if (!thread_limits::are_set()) return false;
  const std::uint64_t now = os::coarse_milliseconds();
  const std::uint32_t names = thread_limits::names_set.load(kRelaxed);
  if (heap.names_seen == names && now - heap.named_at < kNamedMilliseconds) return false;
  heap.names_seen = names;
  heap.named_at = now;
  const thread_limits::Rule rule = thread_limits::rule_of_this_thread();
  if (rule == heap.rule) return false;
  tenants::leave(heap.account);
  heap.account = tenants::enter(rule);
  heap.rule = rule;
  return true;
}

}  // namespace

void give_up_account(ThreadHeap& heap) {
  tenants::leave(heap.account);
  heap.rule = 0;
  heap.named_at = 0;
}

void see_slab(const ThreadHeap& heap, SizeClass c, UnitIndex unit) {
  constexpr auto kNothing = static_cast<std::uint8_t>(UnitUse::kNothing);
  if (heap.is_watched || current.view[unit].load(kRelaxed) != kNothing) return;
  if (const NodeHeap& home = NodeHeap::at(heap.home); home.is_tenants()) home.show_slab(unit, c);
}

HeapId home_for(ThreadHeap& heap) {
  const HeapId place = placement::small_here();
  if (!tenants::exist()) [[likely]] return place;
  if (attend_account(heap)) heap.settled_at = 0;
  return tenants::heap_for({heap.account, module_limits::kNone}, place);
}

namespace thread_heap {

bool is_tenant(ThreadHeap& heap) {
  if (!tenants::exist()) [[likely]] return false;
  if (attend_account(heap)) heap.settled_at = 0;
  return heap.account != 0 || module_limits::are_set();
}

thread_limits::Id account_here() {
  if (is_none(current.heap)) return 0;
  if (attend_account(*current.heap)) current.heap->settled_at = 0;
  return current.heap->account;
}

}  // namespace thread_heap
}  // namespace nebula
