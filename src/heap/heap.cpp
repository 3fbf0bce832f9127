#include "heap/heap.hpp"

#include <pthread.h>

#include <cstdint>
#include <cstring>

#include "budget/account.hpp"
#include "diag/message.hpp"
#include "diag/misuse.hpp"
#include "heap/foreign.hpp"
#include "heap/signal_arena.hpp"
#include "os/process.hpp"
#include "spans/large.hpp"

namespace nebula::heap {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

constinit Lock start_lock{LockRank::kRegistry};
enum class State : std::uint8_t { kNotStarted, kStarted, kImpossible };
constinit std::atomic<State> state{State::kNotStarted};
constinit std::atomic<RefusalHandler> refusal_handler{nullptr};

constinit pthread_key_t exit_key = 0;
constinit std::atomic<bool> exits_watched{false};

constinit std::atomic<std::uint64_t> soft_crossings{0};
constinit std::atomic<std::uint64_t> soft_let_go{0};
constinit std::atomic<std::uint64_t> soft_busy_until{0};  // nanoseconds
constinit std::atomic<std::uint64_t> system_refusals{0};
constinit std::atomic<std::uint64_t> node_ticked_at{0};   // coarse milliseconds

// The share of time that reclaiming under the soft limit may take: a quarter.
constexpr std::uint64_t kSoftRest = 3;
constexpr std::uint32_t kSlowCallsPerTick = 64;
constexpr std::uint64_t kNodeTickMilliseconds = 100;

// Held around whatever is in two places at once for a moment (units taken and not yet an object's, slots out of a depot
// and not yet back in a slab): fork waits for it, and so the child, where this thread does not exist, loses nothing.
class HoldGate {
 public:
  HoldGate() : gate_(thread_heap::my_gate()) { lock(); }
  ~HoldGate() { unlock(); }
  HoldGate(const HoldGate&) = delete;
  HoldGate& operator=(const HoldGate&) = delete;

 private:
  void lock() NEBULA_UNCHECKED { gate_.lock(); }
  void unlock() NEBULA_UNCHECKED { gate_.unlock(); }
  Lock& gate_;
};

bool is_started() {
  // acquire: pairs with the release in start().
  const State now = state.load(std::memory_order_acquire);
  if (now == State::kNotStarted) return start();
  return now == State::kStarted;
}

// Outside the slow path, because pthread_setspecific may allocate.
void attend_thread() {
  if (current_heap != no_heap_yet || in_slow_path || !is_started()) return;
  {
    const SlowPath slow;
    thread_heap::ensure();
  }
  if (!thread_heap::is_none(current_heap) && exits_watched.load(kRelaxed)) pthread_setspecific(exit_key, current_heap);
}

// glibc frees a thread's last things after these destructors, and other libraries' destructors run in any order: so this
// one comes back as often as it may and acts the last time.
void at_thread_exit(void* heap) {
  constexpr std::uint8_t kRounds = 3;  // of the four that POSIX grants
  auto* const mine = static_cast<ThreadHeap*>(heap);
  if (mine != current_heap) return;
  if (++mine->exit_rounds < kRounds) {
    pthread_setspecific(exit_key, heap);
    return;
  }
  const SlowPath slow;
  thread_heap::release_current();
}

// Memory that became idle goes back, beside the program's work.
void node_tick() {
  const std::uint64_t now = os::coarse_milliseconds();
  std::uint64_t last = node_ticked_at.load(kRelaxed);
  if (now - last < kNodeTickMilliseconds || !node_ticked_at.compare_exchange_strong(last, now, kRelaxed)) return;
  const HoldGate hold;
  node_heap.drain_depots(NodeHeap::Depots::kIdle);
  node_heap.spans().purge(SpanHeap::Purge::kByAge);
}

// The order of reclaim: cheapest and nearest first.
enum class Step { kOwnPools, kDepots, kOtherThreads, kEmptySlabs, kDirtyPages, kEnd };

std::size_t reclaim(Step step) {
  if (step == Step::kOwnPools) {
    if (!thread_heap::is_none(current_heap)) thread_heap::flush_all(*current_heap);
    return 0;
  }
  if (step == Step::kOtherThreads) {
    thread_heap::ask_others_to_flush();
    return 0;
  }
  const HoldGate hold;
  switch (step) {
    case Step::kDepots: node_heap.drain_depots(NodeHeap::Depots::kAll); return 0;
    case Step::kEmptySlabs: node_heap.release_empty_slabs(); return 0;
    case Step::kDirtyPages:
      return node_heap.spans().purge(SpanHeap::Purge::kEverything) + node_heap.purge_slab_tails() +
             large::purge_tails(node_heap.spans());
    default: return 0;
  }
}

enum class Refusal { kNone, kByBudget, kBySystem };

struct Request {
  std::size_t size;          // what the program asked for
  std::size_t new_bytes;     // what must be committed for it at least
  Refusal refusal = Refusal::kNone;
};

// Whether no reclaim can help: what large objects hold alone leaves no room, or the system refused more addresses than
// the heap has altogether.
bool is_hopeless(const Request& request) {
  if (!refused_by_budget)
    return request.new_bytes > heap_map.mapped_units.load(kRelaxed) * kUnitSize;
  const std::uint64_t limit = process_account.hard_limit();
  const std::uint64_t held = large::counts().live_bytes;
  return held > limit || request.new_bytes > limit - held;
}

bool is_larger_than_anything(const Request& request) {
  return request.new_bytes > pages::region_capacity() * kRegionSize || request.new_bytes > process_account.hard_limit();
}

// Tries, and after each step of reclaim again; null when all was in vain.
template <class Attempt>
void* with_reclaim(Request& request, Attempt attempt) {
  refused_by_budget = request.new_bytes > process_account.hard_limit();
  const bool is_possible = !is_larger_than_anything(request);
  if (is_possible)
    if (void* const object = attempt()) return object;
  if (refused_by_budget) process_account.count_hit();
  if (is_possible && !is_hopeless(request)) {
    for (Step step = Step::kOwnPools; step != Step::kEnd; step = static_cast<Step>(static_cast<int>(step) + 1)) {
      process_account.count_reclaimed(reclaim(step));
      refused_by_budget = false;
      if (void* const object = attempt()) return object;
    }
  }
  request.refusal = refused_by_budget ? Refusal::kByBudget : Refusal::kBySystem;
  return nullptr;
}

// Outside the slow path: a handler that reports takes the locks itself.
void note_refusal(const Request& request) {
  if (request.refusal == Refusal::kBySystem) system_refusals.fetch_add(1, kRelaxed);
  if (request.refusal != Refusal::kByBudget) return;
  process_account.count_refusal(request.size);
  if (const RefusalHandler handler = refusal_handler.load(kRelaxed)) handler(request.size);
}

void reclaim_for_soft_limit() {
  const std::uint64_t started = os::nanoseconds();
  std::uint64_t busy_until = soft_busy_until.load(kRelaxed);
  if (started < busy_until || !soft_busy_until.compare_exchange_strong(busy_until, ~std::uint64_t{0}, kRelaxed)) {
    soft_let_go.fetch_add(1, kRelaxed);
    return;
  }
  if (soft_crossings.fetch_add(1, kRelaxed) == 0) {
    TextOf<128> line;
    line << "committed memory is above NEBULA_BUDGET_SOFT, " << process_account.soft_limit() << " bytes; reclaiming";
    say(line.view());
  }
  for (Step step = Step::kOwnPools; step != Step::kEnd && process_account.is_over_soft_limit();
       step = static_cast<Step>(static_cast<int>(step) + 1))
    process_account.count_reclaimed(reclaim(step));
  const std::uint64_t ended = os::nanoseconds();
  soft_busy_until.store(ended + kSoftRest * (ended - started), kRelaxed);
}

bool deallocate_large(void* pointer) {
  const HoldGate hold;
  return large::deallocate(node_heap.spans(), pointer);
}

// At the end of a slow path, without locks.
void after_slow_path() {
  while (void* const pointer = signal_arena::take_deferred()) {
    const unsigned use = unit_use(unit_of(pointer)).load(kRelaxed);
    if (is_size_class(use)) thread_heap::free_direct(size_class(use), pointer, "free");
    else if (!deallocate_large(pointer)) misuse::no_object(pointer, "free");
  }
  if (process_account.is_over_soft_limit()) reclaim_for_soft_limit();
  ThreadHeap* const heap = current_heap;
  if (thread_heap::is_none(heap) || ++heap->slow_calls % kSlowCallsPerTick != 0) return;
  thread_heap::tick(*heap);
  node_tick();
}

void* allocate_from_class(SizeClass c) {
  ThreadHeap* const heap = current_heap;
  return thread_heap::is_none(heap) ? thread_heap::allocate_direct(c) : thread_heap::refill_and_pop(*heap, c);
}

// The slow path around an attempt; `in_handler` serves a signal handler that interrupted it.
template <class Attempt, class InHandler>
void* serve(Request& request, Attempt attempt, InHandler in_handler) {
  attend_thread();
  const SlowPath slow;
  if (!slow.entered()) return in_handler();
  if (!is_started()) return nullptr;
  void* const object = with_reclaim(request, attempt);
  after_slow_path();
  return object;
}

// What every slot of a class is aligned to: whoever asked for an alignment got such a class.
std::size_t aligned_by_slot_size(SizeClass c) { return slot_size(c) & (~slot_size(c) + 1); }

enum class OnRefusal { kNote, kIgnore };

void* allocate_class(SizeClass c, std::size_t size, OnRefusal on_refusal = OnRefusal::kNote) {
  if (void* const slot = try_pop(current_heap, index_of(c))) return slot;
  Request request = {size, slot_size(c)};
  void* const slot = serve(request, [c] { return allocate_from_class(c); },
                           [c] { return signal_arena::allocate(slot_size(c), aligned_by_slot_size(c)); });
  if (on_refusal == OnRefusal::kNote) note_refusal(request);
  return slot;
}

void* allocate_large(std::size_t size, std::size_t alignment, large::Contents contents) {
  if (size > PTRDIFF_MAX - alignment) return nullptr;
  const std::size_t bytes = size < kPageSize ? kPageSize : size;
  Request request = {size, bytes};
  void* const object = serve(
      request,
      [=] {
        const HoldGate hold;
        return reinterpret_cast<void*>(large::allocate(node_heap.spans(), bytes, alignment, contents));
      },
      [=]() -> void* {
        void* const target = signal_arena::allocate(bytes, alignment);
        return target != nullptr && contents == large::Contents::kZero ? std::memset(target, 0, bytes) : target;
      });
  note_refusal(request);
  return object;
}

bool is_ours(const void* pointer) { return unit_of(pointer) < heap_map.mapped_units.load(kRelaxed); }

unsigned use_of(const void* pointer) { return unit_use(unit_of(pointer)).load(kRelaxed); }

constexpr bool is(unsigned use, UnitUse what) { return use == static_cast<unsigned>(what); }

void refuse_large(const void* pointer, unsigned use, const char* call) {
  if (!is(use, UnitUse::kLargeHead) && !is(use, UnitUse::kLargeInside)) return misuse::no_object(pointer, call);
  const UnitIndex head = large::head_of(static_cast<UnitIndex>(unit_of(pointer)));
  misuse::interior_of_large(pointer, large::size_of(head),
                            reinterpret_cast<Address>(pointer) - address_of_unit(head), call);
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
  void* const target = allocate_class(c, size, OnRefusal::kIgnore);
  if (target == nullptr) return pointer;
  std::memcpy(target, pointer, size);
  deallocate(pointer, "realloc");
  return target;
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
        const HoldGate hold;
        SpanHeap& spans = node_heap.spans();
        if (large::resize_in_place(spans, head, size)) return pointer;
        if (old_size >= kMoveByPageTable)
          if (const Address moved = large::grow_by_moving_pages(spans, head, size)) return reinterpret_cast<void*>(moved);
        const Address target = large::allocate(spans, size, 1, large::Contents::kAny);
        copies = target != 0;
        return reinterpret_cast<void*>(target);
      },
      []() -> void* { return nullptr; });
  if (copies) {
    std::memcpy(result, pointer, old_size);
    deallocate(pointer, "realloc");
  }
  note_refusal(request);
  return result;
}

}  // namespace

bool start() {
  if (state.load(std::memory_order_acquire) == State::kNotStarted) {
    LockGuard guard(start_lock);
    if (state.load(kRelaxed) == State::kNotStarted) {
      foreign::begin();
      const bool claimed = os::kernel_page_size() == kPageSize && pages::claim();
      // release: pairs with the acquire in is_started().
      state.store(claimed ? State::kStarted : State::kImpossible, std::memory_order_release);
    }
  }
  return state.load(std::memory_order_acquire) == State::kStarted;
}

void reset_in_child() { soft_busy_until.store(0, kRelaxed); }

void watch_thread_exits() {
  if (exits_watched.load(kRelaxed) || pthread_key_create(&exit_key, at_thread_exit) != 0) return;
  exits_watched.store(true, kRelaxed);
  if (!thread_heap::is_none(current_heap)) pthread_setspecific(exit_key, current_heap);
}

void set_refusal_handler(RefusalHandler handler) { refusal_handler.store(handler, kRelaxed); }

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
  if (const unsigned c = class_index_for_aligned(size, alignment)) return allocate_class(size_class(c), size);
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
    ThreadHeap* const heap = current_heap;
    if (thread_heap::is_none(heap)) {
      thread_heap::free_direct(c, pointer, call);
    } else if (heap->slots()[heap->word[use].load(kRelaxed) & 0xffff] == pointer) {
      const UnitIndex unit = slab::first_unit(static_cast<UnitIndex>(unit_of(pointer)), c);
      const std::size_t offset = reinterpret_cast<Address>(pointer) - address_of_unit(unit);
      misuse::double_free_of_slot(pointer, slot_at(c, offset), slot_size(c), call);
    } else {
      thread_heap::make_room_and_push(*heap, c, pointer, call);
    }
  } else if (!deallocate_large(pointer)) {
    refuse_large(pointer, use, call);
  }
  after_slow_path();
}

void* reallocate_slow(void* pointer, std::size_t size) {
  if (!is_ours(pointer)) {
    const std::size_t old_size = usable_size(pointer);
    return old_size == 0 ? nullptr : move_to_new(pointer, old_size, size);
  }
  const unsigned use = use_of(pointer);
  if (is_size_class(use)) {
    const std::size_t old_size = slot_size(size_class(use));
    if (old_size == kGranule && size <= old_size) return pointer;
    return size < old_size ? shrink_to_small(pointer, size) : move_to_new(pointer, old_size, size);
  }
  if (!is(use, UnitUse::kLargeHead) || reinterpret_cast<Address>(pointer) % kUnitSize != 0) {
    refuse_large(pointer, use, "realloc");
    return nullptr;
  }
  const std::size_t old_size = large::size_of(static_cast<UnitIndex>(unit_of(pointer)));
  if (size > PTRDIFF_MAX) return nullptr;
  if (size > kSmallMax) return resize_large(pointer, old_size, size);
  void* const shrunk = shrink_to_small(pointer, size);
  return shrunk != pointer ? shrunk : resize_large(pointer, old_size, size);
}

std::size_t usable_size_slow(const void* pointer) {
  if (pointer == nullptr) return 0;
  if (!is_ours(pointer))
    return signal_arena::holds(pointer) ? signal_arena::size_of(pointer) : foreign::usable_size(pointer);
  const unsigned use = use_of(pointer);
  if (is_size_class(use)) return slot_size(size_class(use));
  if (is(use, UnitUse::kLargeHead) && reinterpret_cast<Address>(pointer) % kUnitSize == 0)
    return large::size_of(static_cast<UnitIndex>(unit_of(pointer)));
  refuse_large(pointer, use, "malloc_usable_size");
  return 0;
}

void flush_this_thread() {
  const SlowPath slow;
  if (slow.entered() && !thread_heap::is_none(current_heap)) thread_heap::flush_all(*current_heap);
}

bool trim() {
  attend_thread();
  const SlowPath slow;
  if (!slow.entered() || !is_started()) return false;
  std::size_t given_back = 0;
  for (Step step = Step::kOwnPools; step != Step::kEnd; step = static_cast<Step>(static_cast<int>(step) + 1))
    given_back += reclaim(step);
  return given_back != 0;
}

Facts facts() {
  const signal_arena::Counts arena = signal_arena::counts();
  return {arena.allocations, arena.frees, arena.live_bytes, arena.committed_bytes, arena.deferred, arena.lost, soft_crossings.load(kRelaxed),
          soft_let_go.load(kRelaxed), system_refusals.load(kRelaxed)};
}

}  // namespace nebula::heap
