#include "heap/heap.hpp"

#include <pthread.h>

#include <cstdint>
#include <cstring>

#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "budget/process_limits.hpp"
#include "bump/bump.hpp"
#include "diag/message.hpp"
#include "diag/misuse.hpp"
#include "heap/auto_routes.hpp"
#include "heap/foreign.hpp"
#include "heap/holes.hpp"
#include "heap/news.hpp"
#include "heap/reclaim.hpp"
#include "heap/requests.hpp"
#include "heap/routes.hpp"
#include "heap/signal_arena.hpp"
#include "node_heap/placement.hpp"
#include "node_heap/tenants.hpp"
#include "os/process.hpp"
#include "pages/locking.hpp"
#include "profiling/sites.hpp"
#include "profiling/stack.hpp"
#include "spans/large.hpp"
#include "spans/reserve.hpp"
#include "spans/sampled.hpp"

namespace nebula::heap {

constinit thread_local const void* called_from = nullptr;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

NEBULA_START_DATA constinit Lock start_lock{LockRank::kRegistry};
enum class State : std::uint8_t { kNotStarted, kStarted, kImpossible };
NEBULA_START_DATA constinit std::atomic<State> state{State::kNotStarted};
constinit std::atomic<Observer> observer{nullptr};

NEBULA_START_DATA constinit pthread_key_t exit_key = 0;
NEBULA_START_DATA constinit std::atomic<bool> exits_watched{false};

// A profile or a route is in force: allocations that find no slot may have another way to go. relaxed: set before there are
// threads.
NEBULA_START_DATA constinit std::atomic<bool> has_detours{false};
// A power of two less one: a tick comes when these bits of a thread's count of slow calls are 0. None are left to test when
// somebody observes each call, and then, too, an unobserved call pays nothing for the question.
NEBULA_START_DATA constinit std::atomic<std::uint32_t> slow_calls_between_ticks{63};

bool is_started() {
  // acquire: pairs with the release in start().
  const State now = state.load(std::memory_order_acquire);
  if (now == State::kNotStarted) return start();
  return now == State::kStarted;
}

// Outside the slow path, because pthread_setspecific may allocate.
void attend_thread() {
  if (current.heap != no_heap_yet || in_slow_path || !is_started()) return;
  {
    const SlowPath slow;
    thread_heap::ensure();
  }
  if (!thread_heap::is_none(current.heap) && exits_watched.load(kRelaxed)) pthread_setspecific(exit_key, current.heap);
}

// glibc frees a thread's last things after these destructors, and other libraries' destructors run in any order: so this
// one comes back as often as it may and acts the last time.
void at_thread_exit(void* heap) {
  constexpr std::uint8_t kRounds = 3;  // of the four that POSIX grants
  auto* const mine = static_cast<ThreadHeap*>(heap);
  if (mine != current.heap) return;
  if (++mine->exit_rounds < kRounds) {
    pthread_setspecific(exit_key, heap);
    return;
  }
  const SlowPath slow;
  thread_heap::release_current();
  if (const Observer notify = observer.load(kRelaxed)) notify();
}

// Outside the slow path. c: kNoClass where the request is for a large object.
void conclude(const Request& request, SizeClass c) {
  if (request.refusal != Request::Refusal::kNone) [[unlikely]] news::note_refusal(request);
  else if (samples_requests.load(kRelaxed)) [[unlikely]] note_request(c, request.size);
}

// A large object, or a small one that a profile follows.
bool deallocate_span(void* pointer) {
  const HoldGate hold;
  NodeHeap& heap = NodeHeap::of(static_cast<UnitIndex>(unit_of(pointer)));
  if (!large::deallocate(heap.spans(), pointer) && !sampled::deallocate(heap.spans(), pointer)) return false;
  if (NodeHeap::places() > 1 && heap.place() != placement::large_here()) heap.count_returned(1);
  return true;
}

// Whom what is allocated here and now is charged to.
tenants::Tenant tenant_here() {
  return {thread_heap::account_here(), module_limits::are_set() ? module_limits::of_code(called_from) : module_limits::kNone};
}

// The heap at a place that this thread should take from for this call; kNoHeap: system or budget refuses it one. No lock held.
HeapId heap_here(HeapId place) { return tenants::exist() ? tenants::heap_for(tenant_here(), place) : place; }

// From this heap, or one that helps it out; 0 when none has any. Under the gate.
Address allocate_from_spans(HeapId from, std::size_t bytes, std::size_t alignment, large::Contents contents) {
  NodeHeap& heap = NodeHeap::at(from);
  const unsigned part = thread_heap::part_here();
  Address object = large::allocate(heap.spans(), bytes, alignment, contents, part);
  if (object != 0) return object;
  heap.ask_helpers([&](NodeHeap& helper) {
    object = large::allocate(helper.spans(), bytes, alignment, contents, part);
    return object != 0;
  });
  return object;
}

// The same from where this call should take from; no lock held.
Address allocate_span_here(std::size_t bytes, std::size_t alignment, large::Contents contents) {
  const HeapId heap = heap_here(placement::large_here());
  if (heap == kNoHeap) return 0;
  for (;;) {
    {
      const HoldGate hold;
      if (const Address object = allocate_from_spans(heap, bytes, alignment, contents)) return object;
    }
    if (!tenants::widen(heap)) return 0;
  }
}

[[gnu::noinline]] void tick(ThreadHeap& heap) {
  thread_heap::tick(heap);
  attend_idle_memory();
  if (const Observer notify = observer.load(kRelaxed)) notify();
}

unsigned use_of(const void* pointer) { return unit_use(unit_of(pointer)).load(kRelaxed); }

constexpr bool is(unsigned use, UnitUse what) { return use == static_cast<unsigned>(what); }

void refuse_in_block(const void* pointer, const bump::Found& found, const char* call) {
  constexpr const char* kBlock = "a bump block";
  switch (found.verdict) {
    case bump::Verdict::kDoubleFree: return misuse::double_free_in(kBlock, pointer, found.size, call);
    case bump::Verdict::kInterior: return misuse::interior_in(kBlock, pointer, found.size, found.offset, call);
    default: return misuse::no_object_in(kBlock, pointer, call);
  }
}

// Inside SlowPath.
void deallocate_in_block(void* pointer, const char* call) {
  ThreadHeap* const heap = current.heap;
  bump::Mine* const mine = thread_heap::is_none(heap) ? nullptr : &heap->bump;
  bump::Found found;
  if (mine != nullptr && !mine->has_holes) {
    found = bump::deallocate(mine, pointer);
  } else {
    const HoldGate hold;  // a fork meets no thread without a heap halfway, nor a rewind that counts what is in use
    found = bump::deallocate(mine, pointer);
    if (found.verdict == bump::Verdict::kBlockIsDead) return bump::end_block(mine, found.head);
  }
  if (found.verdict == bump::Verdict::kDone) return;
  if (found.verdict != bump::Verdict::kBlockIsDead) return refuse_in_block(pointer, found, call);
  const HoldGate hold;
  bump::end_block(mine, found.head);
}

// At the end of a slow path, without locks.
void after_slow_path() {
  while (void* const pointer = signal_arena::take_deferred()) {
    const unsigned use = unit_use(unit_of(pointer)).load(kRelaxed);
    if (is_size_class(use)) thread_heap::free_direct(size_class(use), pointer, "free");
    else if (is(use, UnitUse::kBump)) deallocate_in_block(pointer, "free");
    else if (!deallocate_span(pointer)) misuse::no_object(pointer, "free");
  }
  attend_soft_limit();
  if (holes::are_due()) [[unlikely]] holes::look();
  ThreadHeap* const heap = current.heap;
  if (thread_heap::is_none(heap)) return;
  thread_heap::refresh();
  if ((++heap->slow_calls & slow_calls_between_ticks.load(kRelaxed)) == 0) tick(*heap);
}

// At the end of what is too short to be a slow path: so often, it is one.
[[gnu::always_inline]] inline void after_short_path(ThreadHeap& heap) {
  if (((heap.slow_calls + 1) & slow_calls_between_ticks.load(kRelaxed)) == 0) [[unlikely]] return after_slow_path();
  ++heap.slow_calls;
}

void* allocate_from_class(SizeClass c) {
  ThreadHeap* const heap = current.heap;
  if (thread_heap::is_none(heap)) return thread_heap::allocate_direct(c);
  if (module_limits::are_set()) [[unlikely]] {
    if (const tenants::Tenant tenant = tenant_here(); tenant.module != module_limits::kNone) {
      const HeapId from = tenants::heap_for(tenant, placement::small_here());
      return from == kNoHeap ? nullptr : thread_heap::allocate_from(*heap, from, c);
    }
  }
  return thread_heap::refill_and_pop(*heap, c);
}

// The slow path around an attempt; `in_handler` serves a signal handler that interrupted it.
template <class Attempt, class InHandler>
void* serve(Request& request, Attempt attempt, InHandler in_handler) {
  attend_thread();
  void* object = nullptr;
  {
    const SlowPath slow;
    if (!slow.entered()) return in_handler();
    if (!is_started()) return nullptr;
    object = with_reclaim(request, [](void* context) -> void* { return (*static_cast<Attempt*>(context))(); }, &attempt);
    after_slow_path();
  }
  news::tell();
  return object;
}

// What every slot of a class is aligned to: whoever asked for an alignment got such a class.
std::size_t aligned_by_slot_size(SizeClass c) { return slot_size(c) & (~slot_size(c) + 1); }

enum class OnRefusal { kNote, kIgnore };

// Whether the allocation at hand is a sample.
[[gnu::noinline]] bool is_sample(SizeClass c) {
  attend_thread();
  if (in_slow_path || !is_started()) return false;
  return thread_heap::is_none(current.heap) ? profiling::draw(slot_size(c)) : thread_heap::sample_is_due(*current.heap, c);
}

// In memory of its own; null when there is none: then it is allocated as any other.
[[gnu::noinline]] void* allocate_sample(SizeClass c, std::size_t size) {
  profiling::Stack stack;
  profiling::capture(stack);  // holds no lock
  const SlowPath slow;
  void* object = nullptr;
  {
    const HeapId heap = heap_here(placement::small_here());
    const HoldGate hold;
    object = heap == kNoHeap ? nullptr : sampled::allocate(NodeHeap::at(heap).spans(), c);
    if (object != nullptr) sampled::begin(object, profiling::sites::note_allocation(stack, index_of(c), slot_size(c), size));
    else profiling::sites::count_lost();
  }
  if (!thread_heap::is_none(current.heap) && current.heap->is_watched) thread_heap::draw_next_sample(*current.heap, c);
  after_slow_path();
  return object;
}

// A bump block has no more room: another look at it, or another block. Null: pools serve it.
[[gnu::noinline]] void* allocate_in_next_block(ThreadHeap& heap, std::size_t size, std::size_t alignment) {
  if (!bump::may_allocate(heap.bump)) return nullptr;
  void* object = nullptr;
  {
    const HoldGate hold;
    object = bump::allocate(heap.bump, size, alignment);
  }
  after_slow_path();
  return object;
}

void* allocate_in_block(std::size_t size, std::size_t alignment) {
  bool is_room_made = false;
  void* object = nullptr;
  attend_thread();
  {
    const SlowPath slow;
    ThreadHeap* const heap = current.heap;
    if (!slow.entered() || thread_heap::is_none(heap) || thread_heap::is_tenant(*heap)) return nullptr;
    if (alignment <= kGranule) object = bump::try_allocate(heap->bump, size);
    if (object == nullptr) [[unlikely]] {
      object = allocate_in_next_block(*heap, size, alignment);
      is_room_made = true;
    } else {
      after_short_path(*heap);
    }
  }
  if (is_room_made) [[unlikely]] news::tell();
  return object;
}

void* allocate_large(std::size_t size, std::size_t alignment, large::Contents contents);

// The other ways to an object of a class. Null: none is for this allocation, or it has no room.
void* take_detour(SizeClass c, routes::Route route, std::size_t size, std::size_t alignment) {
  const bool is_bump = route == routes::Route::kBump;
  if (profiling::is_on()) [[unlikely]] {
    const bool is_chosen = is_bump ? !in_slow_path && profiling::draw(round_up(size, kGranule)) : is_sample(c);
    if (is_chosen)
      if (void* const object = allocate_sample(c, size)) return object;
  }
  return is_bump ? allocate_in_block(size, alignment) : nullptr;
}

void* allocate_class(SizeClass c, std::size_t size, std::size_t alignment = 1, OnRefusal on_refusal = OnRefusal::kNote) {
  if (void* const slot = try_pop(current.heap, index_of(c))) return slot;
  if (has_detours.load(kRelaxed)) [[unlikely]] {
    if (void* const slot = thread_heap::try_pop_own(*current.heap, c)) return slot;
    const routes::Route route = auto_routes::route_for(c);
    if (route == routes::Route::kNode && on_refusal == OnRefusal::kNote)
      return allocate_large(size, alignment, large::Contents::kAny);
    if (void* const object = take_detour(c, route, size == 0 ? 1 : size, alignment)) return object;
  }
  Request request = {size, slot_size(c)};
  void* const slot = serve(request, [c] { return allocate_from_class(c); },
                           [c] { return signal_arena::allocate(slot_size(c), aligned_by_slot_size(c)); });
  if (on_refusal == OnRefusal::kNote) conclude(request, c);
  return slot;
}

bool is_ours(const void* pointer) { return unit_of(pointer) < heap_map.mapped_units.load(kRelaxed); }

// By lot: the large object that has just been made or resized, of `bytes` bytes of which `size` were asked for.
[[gnu::noinline]] void sample_large(void* object, std::size_t bytes, std::size_t size) {
  if (in_slow_path || !is_ours(object) || !profiling::draw(bytes)) return;
  profiling::Stack stack;
  profiling::capture(stack);
  const SlowPath slow;
  const HoldGate hold;
  large::set_sample(static_cast<UnitIndex>(unit_of(object)), profiling::sites::note_allocation(stack, 0, bytes, size));
}

void* allocate_large(std::size_t size, std::size_t alignment, large::Contents contents) {
  if (size > PTRDIFF_MAX - alignment) return nullptr;
  const std::size_t bytes = size < kPageSize ? kPageSize : size;
  Request request = {size, bytes};
  void* const object = serve(
      request,
      [=] { return reinterpret_cast<void*>(allocate_span_here(bytes, alignment, contents)); },
      [=]() -> void* {
        void* const target = signal_arena::allocate(bytes, alignment);
        return target != nullptr && contents == large::Contents::kZero ? std::memset(target, 0, bytes) : target;
      });
  conclude(request, kNoClass);
  if (profiling::is_on() && object != nullptr) [[unlikely]] sample_large(object, pages_for(bytes).bytes(), size);
  return object;
}

void refuse_span(const void* pointer, unsigned use, const char* call) {
  const std::size_t offset = reinterpret_cast<Address>(pointer) % kUnitSize;
  if (is(use, UnitUse::kSampled)) {
    const std::size_t size = slot_size(sampled::class_at(static_cast<UnitIndex>(unit_of(pointer))));
    return misuse::interior_of_slot(pointer, 0, size, offset, call);
  }
  if (!is(use, UnitUse::kLargeHead) && !is(use, UnitUse::kLargeInside)) return misuse::no_object(pointer, call);
  const UnitIndex head = large::head_of(static_cast<UnitIndex>(unit_of(pointer)));
  misuse::interior_of_large(pointer, large::size_of(head),
                            reinterpret_cast<Address>(pointer) - address_of_unit(head), call);
}

bool is_sampled_object(const void* pointer, unsigned use) {
  return is(use, UnitUse::kSampled) && reinterpret_cast<Address>(pointer) % kUnitSize == 0;
}

// Of an object in a slab, or one that is sampled.
std::size_t small_size(const void* pointer, unsigned use) {
  return slot_size(is_size_class(use) ? size_class(use) : sampled::class_at(static_cast<UnitIndex>(unit_of(pointer))));
}

void* move_to_new(void* pointer, std::size_t old_size, std::size_t size) {
  void* const target = allocate(size);
  if (target == nullptr) return nullptr;
  std::memcpy(target, pointer, old_size < size ? old_size : size);
  deallocate(pointer, "realloc");
  return target;
}

// The object with its new, smaller size, here or elsewhere: shrinking never fails, and a refusal on the way is nobody's.
void* shrink_to_small(void* pointer, std::size_t size) {
  const SizeClass c = size_class(class_index_for(size));
  void* const target = allocate_class(c, size, 1, OnRefusal::kIgnore);
  if (target == nullptr) return pointer;
  std::memcpy(target, pointer, size);
  deallocate(pointer, "realloc");
  return target;
}

// Of an object in a bump block.
void* resize_in_block(void* pointer, std::size_t size) {
  const bump::Found found = bump::look(pointer);
  if (found.verdict != bump::Verdict::kDone) {
    refuse_in_block(pointer, found, "realloc");
    return nullptr;
  }
  if (found.size == kGranule ? size <= found.size : found.size - size < (found.size + 1) / 2) return pointer;
  if (size <= kSmallMax && !thread_heap::is_none(current.heap)) {
    const SlowPath slow;
    if (slow.entered()) {
      const HoldGate hold;
      if (bump::resize_last(current.heap->bump, pointer, size)) return pointer;
    }
  }
  return size < found.size ? shrink_to_small(pointer, size) : move_to_new(pointer, found.size, size);
}

// In place, by page table, or by copying.
void* resize_large(void* pointer, std::size_t old_size, std::size_t size) {
  // Below this, copying is cheaper than the calls to the kernel and the faults that follow.
  constexpr std::size_t kMoveByPageTable = kMiB;
  if (pages_for(size).bytes() == old_size) return pointer;
  if (in_slow_path) return move_to_new(pointer, old_size, size);  // a signal handler
  const auto head = static_cast<UnitIndex>(unit_of(pointer));
  bool copies = false;
  Request request = {size, size > old_size ? size - old_size : 0};
  void* const result = serve(
      request,
      [&]() -> void* {
        {
          const HoldGate hold;
          SpanHeap& spans = NodeHeap::of(head).spans();
          if (large::resize_in_place(spans, head, size)) return pointer;
          if (size < old_size) return nullptr;  // only a limit refuses that, and it would refuse a smaller object elsewhere, too
          if (old_size >= kMoveByPageTable)
            if (const Address moved = large::grow_by_moving_pages(spans, head, size, thread_heap::part_here())) return reinterpret_cast<void*>(moved);
        }
        const Address target = allocate_span_here(size, 1, large::Contents::kAny);
        copies = target != 0;
        return reinterpret_cast<void*>(target);
      },
      []() -> void* { return nullptr; });
  if (copies) {
    std::memcpy(result, pointer, old_size);
    deallocate(pointer, "realloc");
  }
  if (result == nullptr && size < old_size) return pointer;  // the limit of the smaller size: the object keeps its pages
  conclude(request, kNoClass);
  if (profiling::is_on() && result != nullptr) [[unlikely]] sample_large(result, pages_for(size).bytes(), size);
  return result;
}

}  // namespace

bool start() {
  if (state.load(std::memory_order_acquire) == State::kNotStarted) {
    LockGuard guard(start_lock);
    if (state.load(kRelaxed) == State::kNotStarted) {
      foreign::begin();
      if (const unsigned processors = os::usable_processors()) NodeHeap::set_processors(processors);
      const bool claimed = os::kernel_page_size() == kPageSize && pages::claim();
      // release: pairs with the acquire in is_started().
      state.store(claimed ? State::kStarted : State::kImpossible, std::memory_order_release);
    }
  }
  return state.load(std::memory_order_acquire) == State::kStarted;
}

bool begin_profile(std::uint64_t period) {
  attend_thread();
  const SlowPath slow;
  if (!slow.entered() || !is_started()) return false;
  {
    const HoldGate hold;
    const bool has_view = pages::has_view_of_none.load(kRelaxed) || NodeHeap::add_view_of_none();
    if (!has_view || !profiling::sites::begin(period)) return false;
  }
  thread_heap::begin_watch();
  has_detours.store(true, kRelaxed);
  return true;
}

bool begin_tenants() {
  if (!tenants::begin()) return false;
  if (!module_limits::are_set()) return true;
  attend_thread();
  const SlowPath slow;
  if (!slow.entered()) return false;
  {
    const HoldGate hold;
    if (!NodeHeap::add_view_of_none()) return false;
  }
  thread_heap::begin_watch();
  return true;
}

void set_routes(const config::Routes& wanted, std::uint64_t bump_limit) {
  routes::set(wanted, bump_limit);
  if (!routes::in_force.load(kRelaxed)) return;
  has_detours.store(true, kRelaxed);
  if (wanted.is_auto) auto_routes::begin();
  flush_this_thread();  // what lies in a pool would come before the route
}

void set_page_policy(const config::PagePolicy& policy) {
  page_policy = policy;
  if (policy.locks) locking::begin();
  if (policy.purge == config::PagePolicy::Purge::kNow) slow_calls_between_ticks.store(0, kRelaxed);
}

bool begin_reserve(std::uint64_t bytes) {
  attend_thread();
  const SlowPath slow;
  if (!slow.entered() || !is_started()) return false;
  const HoldGate hold;
  return reserve::fill(NodeHeap::at(placement::small_here()).spans(), bytes);
}

void reset_in_child() {
  reset_reclaim_in_child();
  process_limits::reset_in_child();
  bump::reset_in_child();
  auto_routes::reset_in_child();
  locking::end_in_child();
}

void watch_thread_exits() {
  if (exits_watched.load(kRelaxed) || pthread_key_create(&exit_key, at_thread_exit) != 0) return;
  exits_watched.store(true, kRelaxed);
  if (!thread_heap::is_none(current.heap)) pthread_setspecific(exit_key, current.heap);
}

void set_observer(Observer wanted) {
  observer.store(wanted, kRelaxed);
  slow_calls_between_ticks.store(0, kRelaxed);
}

void* allocate_slow(std::size_t size) {
  if (void* const slot = try_allocate_coarse(size)) return slot;
  if (size > kSmallMax) return allocate_large(size, 1, large::Contents::kAny);
  return allocate_class(size_class(class_index_for(size == 0 ? 1 : size)), size);
}

void* allocate_zeroed_slow(std::size_t size) {
  if (size > kSmallMax) return allocate_large(size, 1, large::Contents::kZero);
  void* const object = allocate_slow(size);
  return object == nullptr ? nullptr : std::memset(object, 0, size);
}

void* allocate_aligned_slow(std::size_t size, std::size_t alignment) {
  if (const unsigned c = class_index_for_aligned(size, alignment)) return allocate_class(size_class(c), size, alignment);
  return allocate_large(size, alignment, large::Contents::kAny);
}

void deallocate_slow(void* pointer, const char* call) {
  if (pointer == nullptr) return;
  if (!is_ours(pointer))
    return signal_arena::holds(pointer) ? signal_arena::deallocate(pointer) : foreign::deallocate(pointer);
  attend_thread();
  const SlowPath slow;
  if (!slow.entered()) {
    signal_arena::defer_free(pointer);
    return;
  }
  const unsigned use = use_of(pointer);
  if (is_size_class(use)) {
    const SizeClass c = size_class(use);
    ThreadHeap* const heap = current.heap;
    if (thread_heap::is_none(heap)) {
      thread_heap::free_direct(c, pointer, call);
    } else if (thread_heap::was_freed_last(*heap, c, pointer)) {
      const UnitIndex unit = slab::first_unit(static_cast<UnitIndex>(unit_of(pointer)), c);
      const std::size_t offset = reinterpret_cast<Address>(pointer) - address_of_unit(unit);
      misuse::double_free_of_slot(pointer, slot_at(c, offset), slot_size(c), call);
    } else {
      thread_heap::make_room_and_push(*heap, c, pointer, call);
    }
  } else if (is(use, UnitUse::kBump)) {
    deallocate_in_block(pointer, call);
    if (!thread_heap::is_none(current.heap)) return after_short_path(*current.heap);
  } else if (!deallocate_span(pointer)) {
    refuse_span(pointer, use, call);
  }
  after_slow_path();
}

void* reallocate_slow(void* pointer, std::size_t size) {
  if (!is_ours(pointer)) {
    const std::size_t old_size = usable_size(pointer);
    return old_size == 0 ? nullptr : move_to_new(pointer, old_size, size);
  }
  const unsigned use = use_of(pointer);
  if (is_size_class(use) || is_sampled_object(pointer, use)) {
    const std::size_t old_size = small_size(pointer, use);
    if (old_size == kGranule ? size <= old_size : old_size - size < (old_size + 1) / 2) return pointer;
    return size < old_size ? shrink_to_small(pointer, size) : move_to_new(pointer, old_size, size);
  }
  if (is(use, UnitUse::kBump)) return resize_in_block(pointer, size);
  if (!is(use, UnitUse::kLargeHead) || reinterpret_cast<Address>(pointer) % kUnitSize != 0) {
    refuse_span(pointer, use, "realloc");
    return nullptr;
  }
  const std::size_t old_size = large::size_of(static_cast<UnitIndex>(unit_of(pointer)));
  if (size > PTRDIFF_MAX) return nullptr;
  if (size > kSmallMax || routes::of(size_class(class_index_for(size))) == routes::Route::kNode) return resize_large(pointer, old_size, size);
  void* const shrunk = shrink_to_small(pointer, size);
  return shrunk != pointer ? shrunk : resize_large(pointer, old_size, size);
}

std::size_t usable_size_slow(const void* pointer) {
  if (pointer == nullptr) return 0;
  if (!is_ours(pointer))
    return signal_arena::holds(pointer) ? signal_arena::size_of(pointer) : foreign::usable_size(pointer);
  const unsigned use = use_of(pointer);
  if (is_size_class(use) || is_sampled_object(pointer, use)) return small_size(pointer, use);
  if (is(use, UnitUse::kLargeHead) && reinterpret_cast<Address>(pointer) % kUnitSize == 0)
    return large::size_of(static_cast<UnitIndex>(unit_of(pointer)));
  if (is(use, UnitUse::kBump)) {
    const bump::Found found = bump::look(pointer);
    if (found.verdict == bump::Verdict::kDone) return found.size;
    refuse_in_block(pointer, found, "malloc_usable_size");
    return 0;
  }
  refuse_span(pointer, use, "malloc_usable_size");
  return 0;
}

void flush_this_thread() {
  const SlowPath slow;
  if (slow.entered() && !thread_heap::is_none(current.heap)) thread_heap::flush_all(*current.heap);
}

void flush_at_exit() {
  flush_this_thread();
  const SlowPath slow;
  if (slow.entered()) thread_heap::flush_gone();
}

bool set_budget(std::uint64_t hard, std::uint64_t soft) {
  attend_thread();
  {
    const SlowPath slow;
    if (!slow.entered()) return false;
    process_limits::set(hard, soft);
    if (is_started() && process_account.committed() > (hard < soft ? hard : soft)) reclaim_everything(PurgeReason::kCall);
  }
  news::tell();
  return true;
}

std::size_t trim() {
  attend_thread();
  std::size_t bytes = 0;
  {
    const SlowPath slow;
    if (!slow.entered() || !is_started()) return 0;
    bytes = reclaim_everything(PurgeReason::kCall);
  }
  news::tell();
  return bytes;
}

Facts facts() {
  const signal_arena::Counts arena = signal_arena::counts();
  return {arena.allocations, arena.frees, arena.live_bytes, arena.committed_bytes, arena.deferred, arena.lost,
          news::system_refusals()};
}

}  // namespace nebula::heap
