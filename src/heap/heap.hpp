// The facade: what preload/ and the public header call. Fast paths inline, everything else out of line.
//
// No function here touches errno or throws; null is the only failure. Thread-safe. Called in a signal handler that
// interrupted a slow path on the same thread, allocation comes from the signal arena and frees are put off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "budget/account.hpp"
#include "config/budgets.hpp"
#include "config/routes.hpp"
#include "heap/purge_news.hpp"
#include "size_class/size_class.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula::heap {

// What is left when the fast path has no answer.
[[nodiscard]] void* allocate_slow(std::size_t size);
[[nodiscard]] void* allocate_zeroed_slow(std::size_t size);
[[nodiscard]] void* allocate_aligned_slow(std::size_t size, std::size_t alignment);
[[nodiscard]] void* reallocate_slow(void* pointer, std::size_t size);
void deallocate_slow(void* pointer, const char* call);
[[nodiscard]] std::size_t usable_size_slow(const void* pointer);

// Where the call that this thread is in came from. Set by the caller where modules have limits, and only there.
[[gnu::visibility("hidden")]] extern constinit thread_local const void* called_from;
class CalledFrom {
 public:
  explicit CalledFrom(const void* code) : before_(called_from) {
    if (module_limits::are_set()) [[unlikely]] called_from = code;
  }
  ~CalledFrom() {  // a handler's calls lie within another's
    if (module_limits::are_set()) [[unlikely]] called_from = before_;
  }
  CalledFrom(const CalledFrom&) = delete;
  CalledFrom& operator=(const CalledFrom&) = delete;

 private:
  const void* before_;
};

// A slot of a pool, or null when the slow path has to find one.
[[nodiscard]] [[gnu::always_inline]] inline void* try_allocate(std::size_t size) {
  return size <= kFineMax ? try_pop(current.heap, (size + kGranule - 1) / kGranule) : nullptr;
}

// The same for the classes above, whose index needs a table.
[[nodiscard]] [[gnu::always_inline]] inline void* try_allocate_coarse(std::size_t size) {
  return size - kFineMax - 1 < kSmallMax - kFineMax ? try_pop(current.heap, class_index_for(size)) : nullptr;
}

// alignment: a power of two.
[[nodiscard]] [[gnu::always_inline]] inline void* try_allocate_aligned(std::size_t size, std::size_t alignment) {
  return try_pop(current.heap, class_index_for_aligned(size, alignment));  // class 0 has no slots
}

// Behind those, while a profile is taken where there are several node heaps.
[[nodiscard]] [[gnu::always_inline]] inline void* try_allocate_watched(std::size_t size) {
  ThreadHeap* const heap = current.heap;
  if (!heap->is_watched || heap->is_counted || size > kSmallMax) [[likely]] return nullptr;
  return thread_heap::try_pop_own(*heap, static_cast<SizeClass>(class_index_for(size)));
}

// The bytes of the slot that a pointer lies in; 0 for what is in no slab.
[[nodiscard]] [[gnu::always_inline]] inline std::size_t slot_size_at(const void* pointer) {
  const Address base = heap_map.base;
  const std::uint64_t unit = (reinterpret_cast<Address>(pointer) - base) >> kUnitShift;
  if (unit >= fast_load(heap_map.mapped_units)) [[unlikely]] return 0;
  return kSizeClasses.slot_size[fast_load(unit_use(unit))];
}

// Whether an object may stay where it is when its size becomes `size`: above half of its slot. Never for size 0.
[[nodiscard]] [[gnu::always_inline]] inline bool fits_in_place(const void* pointer, std::size_t size) {
  const std::size_t slot = slot_size_at(pointer);
  return slot - size < (slot + 1) / 2;
}

// A slot for the object, which does not fit in place, with what it holds, where both sizes have classes and this thread's pool has one.
// Else null. The old slot is still to be freed.
[[nodiscard]] [[gnu::always_inline]] inline void* try_copy(const void* pointer, std::size_t size) {
  const std::size_t before = slot_size_at(pointer);
  if (before == 0 || size - 1 >= kSmallMax) return nullptr;
  void* const slot = try_pop(current.heap, class_index_for(size));
  return slot != nullptr ? __builtin_memcpy(slot, pointer, before < size ? before : size) : nullptr;
}

// Writes zeros over the slot of `size` bytes rounded up to 16.
[[gnu::always_inline]] inline void* clear_slot(void* slot, std::size_t size) {
  using Granule [[gnu::vector_size(16), gnu::may_alias]] = long long;
  constexpr std::size_t kByHand = 4 * kGranule;
  auto* const first = static_cast<Granule*>(slot);
  first[0] = Granule{};  // there is a first granule even for size 0
  if (size <= kGranule) return slot;
  if (size > kByHand) return __builtin_memset(slot, 0, size);
  auto* const end = first + (size + kGranule - 1) / kGranule;
  end[-1] = Granule{};
  if (size <= 2 * kGranule) return slot;
  first[1] = Granule{};
  end[-2] = Granule{};
  return slot;
}

[[nodiscard]] [[gnu::always_inline]] inline void* allocate(std::size_t size) {
  void* const slot = try_allocate(size);
  return slot != nullptr ? slot : allocate_slow(size);
}

[[gnu::always_inline]] inline void deallocate(void* pointer, const char* call) {
  if (!try_push(pointer)) [[unlikely]] deallocate_slow(pointer, call);
}

[[nodiscard]] [[gnu::always_inline]] inline void* allocate_zeroed(std::size_t size) {
  void* const slot = try_allocate(size);
  return slot != nullptr ? clear_slot(slot, size) : allocate_zeroed_slow(size);
}

// alignment: a power of two.
[[nodiscard]] [[gnu::always_inline]] inline void* allocate_aligned(std::size_t size, std::size_t alignment) {
  void* const slot = try_allocate_aligned(size, alignment);
  return slot != nullptr ? slot : allocate_aligned_slow(size, alignment);
}

// pointer not null, size not 0. Null: the old object is untouched.
[[nodiscard]] [[gnu::always_inline]] inline void* reallocate(void* pointer, std::size_t size) {
  return fits_in_place(pointer, size) ? pointer : reallocate_slow(pointer, size);
}

[[nodiscard]] [[gnu::always_inline]] inline std::size_t usable_size(const void* pointer) {
  const std::size_t slot = slot_size_at(pointer);
  return slot != 0 ? slot : usable_size_slow(pointer);
}

// The slots in this thread's pools go back to their slabs. Nothing inside a slow path.
void flush_this_thread();
// And those that threads that are gone have left in theirs.
void flush_at_exit();

// Gives back what can be given back: the bytes that were. 0 too where a handler interrupted a slow path of this thread.
std::size_t trim();

// The limits of the process from now on, whatever the environment said. What is free goes back when more is committed.
// False in a signal handler that interrupted a slow path: nothing has changed.
bool set_budget(std::uint64_t hard, std::uint64_t soft);

// Called once before other threads exist; later calls find it done. False: no address space to be had, every
// allocation will fail.
bool start();
// Samples every `period` bytes from now on. Once; false when there is no memory for it: nothing has changed.
[[nodiscard]] bool begin_profile(std::uint64_t period);
// When pages are purged, which are huge, whether they are locked, from now on. Before there are threads.
void set_page_policy(const config::PagePolicy& policy);
// The accounts of sizes hold from now on, and what there is of such objects is charged, whatever the limits. Once.
void set_size_limits(std::span<const config::SizeLimit> limits, config::AtLimit at_limit);
// Has as much memory ready from now on (spans/reserve.hpp). Once, when the places are there and before other threads are. False: there
// is less.
[[nodiscard]] bool begin_reserve(std::uint64_t bytes);
// Which way the classes come from now on. Once, before other threads exist.
void set_routes(const config::Routes& routes, std::uint64_t bump_limit);
// The accounts of threads and modules hold from now on. Once, when they and the places are set; false when there is no memory for it.
[[nodiscard]] bool begin_tenants();
// In the child of a fork: what another thread was doing here has ended.
void reset_in_child();
// From then on the heaps of threads that end are used again.
void watch_thread_exits();

// A limit was reached (told once until the account has fallen to 95 % of it), or a request is refused for good.
struct BudgetEvent {
  Account& account;
  // Of a refusal by the system the account is that of the process.
  enum class What : std::uint8_t { kSoftLimit, kHardLimit, kFirstRefusal, kRefusal, kSystemRefusal } what;
  std::size_t requested_bytes;  // of a refusal
};
// Called outside all locks and of the slow path.
using BudgetListener = void (*)(const BudgetEvent& event);
void set_budget_listener(BudgetListener listener);
// Memory was given back to the system: so many bytes since the last call for the same reason. Called as the other is, by the next
// allocation that takes a slow path, of whichever thread. Of two listeners at most.
using PurgeListener = void (*)(PurgeReason reason, std::uint64_t bytes);
void add_purge_listener(PurgeListener listener);
// Called then, after the others, whenever there were news of any kind.
using NewsListener = void (*)();
void set_news_listener(NewsListener listener);

// Called at the end of each slow path of a thread that has a heap, and when a thread has ended; without locks, in the slow
// path, so that it may take locks and must not allocate.
using Observer = void (*)();
void set_observer(Observer wanted);

// Frees whose pointers came in while their thread was in a slow path.
struct Facts {
  std::uint64_t signal_allocations = 0;
  std::uint64_t signal_frees = 0;
  std::uint64_t signal_bytes = 0;
  std::uint64_t signal_committed_bytes = 0;
  std::uint64_t deferred_frees = 0;
  std::uint64_t lost_frees = 0;  // more were put off than there is room to note
  std::uint64_t system_refusals = 0;  // requests that no budget but the system refused
};
[[nodiscard]] Facts facts();

}  // namespace nebula::heap
