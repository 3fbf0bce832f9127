// Nebula for C++20: what nebula.h offers as types that own, scopes that end, memory resources, and arithmetic that is checked.
//
// Header only, and as weak as nebula.h: a program that includes it links and runs without libnebula.so too. is_loaded() says whether
// the library is there. Without it the memory resources are the standard's of the same kind, and the constructors of Arena, Heap,
// Pool and Stack throw NotLoaded. Each of these is for one thread at a time, as in nebula.h, which also says what functions cost.
//
// Memory that is refused is std::bad_alloc, as with operator new. Objects that are made in an Arena or a Stack are not
// destroyed with it, so their types must not need it; those of a Pool are when they are given back.
#pragma once

#include <nebula/nebula.h>

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <memory_resource>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <utility>

namespace nebula {

// Whether libnebula.so is in the process, and as new as this header.
[[nodiscard]] inline bool is_loaded() noexcept { return nebula_arena_create != nullptr && nebula_stack_usage != nullptr; }

struct NotLoaded : std::runtime_error {
  NotLoaded() : std::runtime_error("libnebula.so is not loaded") {}
};

// ---- Arithmetic that is checked: nothing when the result does not fit ----

template <std::integral Integer>
[[nodiscard]] constexpr std::optional<Integer> checked_add(Integer a, Integer b) noexcept {
  Integer result{};
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

template <std::integral Integer>
[[nodiscard]] constexpr std::optional<Integer> checked_subtract(Integer a, Integer b) noexcept {
  Integer result{};
  if (__builtin_sub_overflow(a, b, &result)) return std::nullopt;
  return result;
}

template <std::integral Integer>
[[nodiscard]] constexpr std::optional<Integer> checked_multiply(Integer a, Integer b) noexcept {
  Integer result{};
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// Up to a multiple of `alignment`; nothing, too, when that is no power of two.
template <std::unsigned_integral Integer>
[[nodiscard]] constexpr std::optional<Integer> checked_round_up(Integer value, Integer alignment) noexcept {
  if (alignment == 0 || (alignment & (alignment - 1)) != 0) return std::nullopt;
  const std::optional<Integer> sum = checked_add<Integer>(value, static_cast<Integer>(alignment - 1));
  if (!sum) return std::nullopt;
  return static_cast<Integer>(*sum & ~static_cast<Integer>(alignment - 1));
}

// The bytes of an array, with so many in front of it; nothing, too, when no object may be so large.
[[nodiscard]] constexpr std::optional<std::size_t> checked_array_bytes(std::size_t count, std::size_t each,
                                                                       std::size_t before = 0) noexcept {
  const std::optional<std::size_t> product = checked_multiply(count, each);
  const std::optional<std::size_t> sum = product ? checked_add(*product, before) : product;
  return sum && *sum <= static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) ? sum : std::nullopt;
}

namespace detail {

// What a create function made.
template <class Handle>
Handle* need(Handle* handle) {
  if (handle == nullptr) throw std::bad_alloc();
  return handle;
}

inline void need_library() {
  if (!is_loaded()) throw NotLoaded();
}

inline void check(int error, const char* what) {
  if (error == ENOMEM) throw std::bad_alloc();
  if (error != 0) throw std::system_error(error, std::generic_category(), what);
}

inline std::size_t array_bytes(std::size_t count, std::size_t each) {
  const std::optional<std::size_t> bytes = checked_array_bytes(count, each);
  if (!bytes) throw std::bad_array_new_length();
  return *bytes;
}

// Objects of types that need no destructor, in what hands out memory by allocate(bytes, alignment).
template <class Owner>
class Makes {
 public:
  template <class Type, class... Arguments>
    requires std::is_trivially_destructible_v<Type>
  [[nodiscard]] Type* make(Arguments&&... arguments) {
    return ::new (static_cast<Owner*>(this)->allocate(sizeof(Type), alignof(Type))) Type(std::forward<Arguments>(arguments)...);
  }

  // Value-initialised: zeros for numbers and pointers.
  template <class Type>
    requires std::is_trivially_destructible_v<Type>
  [[nodiscard]] Type* make_array(std::size_t count) {
    void* const memory = static_cast<Owner*>(this)->allocate(array_bytes(count, sizeof(Type)), alignof(Type));
    auto* const first = static_cast<Type*>(memory);
    std::uninitialized_value_construct_n(first, count);
    return first;
  }
};

template <class Usage = nebula_usage>
[[nodiscard]] inline Usage empty_usage() noexcept {
  Usage usage{};
  usage.size = sizeof usage;
  return usage;
}

}  // namespace detail

// ---- Arenas ----

struct ArenaOptions {
  std::size_t block_bytes = 0;  // 0: the library's choice
  std::size_t limit_bytes = 0;  // 0: no limit
};

class Arena : public detail::Makes<Arena> {
 public:
  explicit Arena(ArenaOptions wishes = {}) {
    detail::need_library();
    const nebula_arena_options options = {sizeof options, wishes.block_bytes, wishes.limit_bytes};
    handle_.reset(detail::need(nebula_arena_create(&options)));
  }

  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
    return detail::need(nebula_arena_allocate_aligned(handle(), alignment, bytes));
  }
  // The next objects, up to so many bytes, are not refused; see nebula_arena_reserve.
  void reserve(std::size_t bytes) { detail::check(nebula_arena_reserve(handle(), bytes), "nebula_arena_reserve"); }
  void reset() noexcept { nebula_arena_reset(handle()); }

  [[nodiscard]] nebula_checkpoint checkpoint() noexcept { return nebula_arena_checkpoint(handle()); }
  // A checkpoint that is stale, of another arena or none throws std::system_error; nothing has changed then.
  void restore(nebula_checkpoint to) { detail::check(nebula_arena_restore(handle(), to), "nebula_arena_restore"); }

  [[nodiscard]] nebula_usage usage() const noexcept {
    nebula_usage usage = detail::empty_usage();
    nebula_arena_usage(handle_.get(), &usage);
    return usage;
  }
  // For the functions of nebula.h; owned by this.
  [[nodiscard]] nebula_arena* handle() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(nebula_arena* handle) const noexcept { nebula_arena_destroy(handle); }
  };
  std::unique_ptr<nebula_arena, Destroy> handle_;
};

// What is handed out while it lives is freed by its end. Scopes of an arena end in the reverse order, as those of blocks do; one whose
// beginning is gone (the arena was reset) frees nothing.
class ArenaScope {
 public:
  explicit ArenaScope(Arena& arena) noexcept : arena_(arena.handle()), begin_(arena.checkpoint()) {}
  ~ArenaScope() { nebula_arena_restore(arena_, begin_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  nebula_arena* arena_;
  nebula_checkpoint begin_;
};

// ---- Heaps ----

struct HeapOptions {
  std::size_t limit_bytes = 0;  // 0: no limit
};

class Heap {
 public:
  explicit Heap(HeapOptions wishes = {}) {
    detail::need_library();
    const nebula_heap_options options = {sizeof options, wishes.limit_bytes};
    handle_.reset(detail::need(nebula_heap_create(&options)));
  }

  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
    return detail::need(nebula_heap_allocate_aligned(handle(), alignment, bytes));
  }
  void free(void* object) noexcept { nebula_heap_free(handle(), object); }

  [[nodiscard]] nebula_usage usage() const noexcept {
    nebula_usage usage = detail::empty_usage();
    nebula_heap_usage(handle_.get(), &usage);
    return usage;
  }
  [[nodiscard]] nebula_heap* handle() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(nebula_heap* handle) const noexcept { nebula_heap_destroy(handle); }
  };
  std::unique_ptr<nebula_heap, Destroy> handle_;
};

// ---- Pools ----

// Objects of one type. Those that are alive when the pool ends lose their memory without being destroyed.
template <class Type>
class Pool {
 public:
  explicit Pool(std::size_t limit_bytes = 0) {
    detail::need_library();
    const nebula_pool_options options = {sizeof options, alignof(Type) < 16 ? std::size_t{16} : alignof(Type), limit_bytes};
    handle_.reset(detail::need(nebula_pool_create(sizeof(Type), &options)));
  }

  template <class... Arguments>
  [[nodiscard]] Type* make(Arguments&&... arguments) {
    void* const memory = detail::need(nebula_pool_allocate(handle()));
    try {
      return ::new (memory) Type(std::forward<Arguments>(arguments)...);
    } catch (...) {
      nebula_pool_free(handle(), memory);
      throw;
    }
  }
  // Null: nothing.
  void destroy(Type* object) noexcept { Return{handle()}(object); }

  struct Return {
    nebula_pool* pool;
    void operator()(Type* object) const noexcept {
      if (object == nullptr) return;
      object->~Type();
      nebula_pool_free(pool, object);
    }
  };
  using Pointer = std::unique_ptr<Type, Return>;
  // Goes back by itself; the pool must be there still.
  template <class... Arguments>
  [[nodiscard]] Pointer make_unique(Arguments&&... arguments) {
    return Pointer(make(std::forward<Arguments>(arguments)...), Return{handle()});
  }

  [[nodiscard]] nebula_usage usage() const noexcept {
    nebula_usage usage = detail::empty_usage();
    nebula_pool_usage(handle_.get(), &usage);
    return usage;
  }
  [[nodiscard]] nebula_pool* handle() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(nebula_pool* handle) const noexcept { nebula_pool_destroy(handle); }
  };
  std::unique_ptr<nebula_pool, Destroy> handle_;
};

// ---- Stacks ----

class Stack : public detail::Makes<Stack> {
 public:
  explicit Stack(std::size_t capacity_bytes) {
    detail::need_library();
    handle_.reset(detail::need(nebula_stack_create(capacity_bytes)));
  }

  [[nodiscard]] void* allocate(std::size_t bytes, std::size_t alignment = alignof(std::max_align_t)) {
    return detail::need(nebula_stack_allocate_aligned(handle(), alignment, bytes));
  }
  [[nodiscard]] nebula_usage usage() const noexcept {
    nebula_usage usage = detail::empty_usage();
    nebula_stack_usage(handle_.get(), &usage);
    return usage;
  }
  [[nodiscard]] nebula_stack* handle() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(nebula_stack* handle) const noexcept { nebula_stack_destroy(handle); }
  };
  std::unique_ptr<nebula_stack, Destroy> handle_;
};

// What is handed out while it lives is freed by its end.
class StackFrame {
 public:
  explicit StackFrame(Stack& stack) : stack_(stack.handle()) {
    detail::check(nebula_stack_begin_frame(stack_, &frame_), "nebula_stack_begin_frame");
  }
  ~StackFrame() { nebula_stack_end_frame(stack_, frame_); }
  StackFrame(const StackFrame&) = delete;
  StackFrame& operator=(const StackFrame&) = delete;

 private:
  nebula_stack* stack_;
  nebula_frame frame_{};
};

// ---- The budget ----

// Limits of the process while it lives; then those that were there before. Nothing happens without the library. Limits that are
// none (see nebula_budget_set) throw std::system_error.
class BudgetScope {
 public:
  explicit BudgetScope(std::uint64_t limit_bytes, std::uint64_t soft_limit_bytes = NEBULA_NO_LIMIT) {
    if (!is_loaded()) return;
    nebula_budget_get(&before_);
    detail::check(nebula_budget_set(limit_bytes, soft_limit_bytes), "nebula_budget_set");
  }
  ~BudgetScope() {
    if (is_loaded()) nebula_budget_set(before_.limit_bytes, before_.soft_limit_bytes);
  }
  BudgetScope(const BudgetScope&) = delete;
  BudgetScope& operator=(const BudgetScope&) = delete;

 private:
  nebula_budget before_ = detail::empty_usage<nebula_budget>();
};

// ---- Memory resources, for containers of std::pmr ----

// Memory that goes back when the resource ends or is released, not before.
class ArenaResource : public std::pmr::memory_resource {
 public:
  explicit ArenaResource(ArenaOptions wishes = {}) {
    if (is_loaded()) arena_.emplace(wishes);
    else standard_.emplace();
  }
  void release() {
    if (arena_) arena_->reset();
    else standard_->release();
  }
  // Null without the library.
  [[nodiscard]] Arena* arena() noexcept { return arena_ ? &*arena_ : nullptr; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    return arena_ ? arena_->allocate(bytes, alignment) : standard_->allocate(bytes, alignment);
  }
  void do_deallocate(void*, std::size_t, std::size_t) override {}
  [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  std::optional<Arena> arena_;
  std::optional<std::pmr::monotonic_buffer_resource> standard_;
};

// Memory that goes back piece by piece, and what is left of it when the resource ends.
class HeapResource : public std::pmr::memory_resource {
 public:
  explicit HeapResource(HeapOptions wishes = {}) {
    if (is_loaded()) heap_.emplace(wishes);
    else standard_.emplace();
  }
  // Null without the library.
  [[nodiscard]] Heap* heap() noexcept { return heap_ ? &*heap_ : nullptr; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    return heap_ ? heap_->allocate(bytes, alignment) : standard_->allocate(bytes, alignment);
  }
  void do_deallocate(void* object, std::size_t bytes, std::size_t alignment) override {
    if (heap_) heap_->free(object);
    else standard_->deallocate(object, bytes, alignment);
  }
  [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override { return this == &other; }

  std::optional<Heap> heap_;
  std::optional<std::pmr::unsynchronized_pool_resource> standard_;
};

}  // namespace nebula
