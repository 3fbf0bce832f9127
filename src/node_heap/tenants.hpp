// Who has node heaps of his own: a thread under NEBULA_BUDGET_THREAD, a module under NEBULA_BUDGET_MODULE, a thread within a module. So
// a page, a slot, a large object belongs to whom its heap is kept for, whoever frees it. A tenant has a heap at each place that
// he has taken from, made then; where there are no tenants, one flag says so on slow paths.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/units.hpp"
#include "budget/module_limits.hpp"
#include "budget/thread_limits.hpp"
#include "sync/lock.hpp"

namespace nebula::tenants {

struct Tenant {
  thread_limits::Id thread = 0;
  module_limits::Id module = module_limits::kNone;
  [[nodiscard]] bool is_nobody() const { return thread == 0 && module == module_limits::kNone; }
};

// Once, when the places are made and the accounts are set. False: system or budget refuses.
[[nodiscard]] bool begin();
extern constinit std::atomic<bool> any;  // relaxed: set before there are threads
[[nodiscard]] inline bool exist() { return any.load(std::memory_order_relaxed); }

// These run inside the slow path and hold no lock when called.

// The tenant's heap at a place, made where he has none; the place itself for nobody, and where there are as many heaps as there can
// be, which is said once and counted. kNoHeap: system or budget refuses.
[[nodiscard]] HeapId heap_for(Tenant tenant, HeapId place);
// Where this heap has refused for its node's limit: one more heap of its tenant, at the nearest place that helps it and where he
// has none. False: it was another refusal, or there is none to be made.
[[nodiscard]] bool widen(HeapId heap);

// The calling thread has an account by this rule from now on, 0 where it cannot.
[[nodiscard]] thread_limits::Id enter(thread_limits::Rule rule);
// Its thread has ended, or goes by another rule; what its heaps hold idle can be given back.
void leave(thread_limits::Id& id);

// What other heaps a tenant's may ask when its own has no more: his at the places that help its place, as far as he has any.
[[nodiscard]] HeapId helper_of(HeapId heap, HeapId helping_place);

[[nodiscard]] std::uint64_t without_heap();  // requests that should have come from a heap of a tenant's own

// Ranked between a thread's gate and the classes: while it is held no heap is made.
Lock& lock();

}  // namespace nebula::tenants
