// Of the functions of nebula/nebula.h, which says what they promise, those on arenas, heaps, pools and stacks. Nothing here but the
// names, checks of arguments and the forms of structs: what they do is in src/arena.
#include <errno.h>

#include <cstring>

#include "arena/arena.hpp"
#include "arena/object_heap.hpp"
#include "arena/pool.hpp"
#include "arena/stack.hpp"
#include "base/bits.hpp"
#include "heap/heap.hpp"
#include "nebula/nebula.h"
#include "preload/interpose.hpp"
#include "preload/versioned.hpp"

namespace arena = nebula::arena;
using nebula::is_power_of_two;
using nebula::heap::CalledFrom;

namespace {

constexpr std::size_t kNoLimit = ~std::size_t{0};
constexpr std::size_t kAlignment = arena::kAlignment;

std::size_t limit_of(std::size_t wish) { return wish == 0 ? kNoLimit : wish; }

template <class Handle> struct Behind;
template <> struct Behind<nebula_arena> { using Owner = arena::Arena; };
template <> struct Behind<nebula_heap> { using Owner = arena::ObjectHeap; };
template <> struct Behind<nebula_pool> { using Owner = arena::Pool; };
template <> struct Behind<nebula_stack> { using Owner = arena::Stack; };

// Null for null, and for what is told to be none.
template <class Handle>
typename Behind<Handle>::Owner* of(Handle* handle, const char* call) {
  return arena::living(reinterpret_cast<typename Behind<Handle>::Owner*>(handle), call);
}
template <class Handle>
const typename Behind<Handle>::Owner* of(const Handle* handle, const char* call) {
  return arena::living(reinterpret_cast<const typename Behind<Handle>::Owner*>(handle), call);
}

template <class Owner>
void* allocate(Owner* owner, std::size_t size, std::size_t alignment) {
  return owner == nullptr || !is_power_of_two(alignment) ? nullptr : owner->allocate(size, alignment);
}

template <class Owner>
void* allocate_zeroed(Owner* owner, std::size_t count, std::size_t bytes) {
  std::size_t size = 0;
  if (__builtin_mul_overflow(count, bytes, &size)) return nullptr;
  void* const object = allocate(owner, size, kAlignment);
  return object == nullptr ? nullptr : std::memset(object, 0, size);
}

template <class Owner>
void destroy(Owner* owner) {
  if (owner != nullptr) owner->destroy();
}

template <class Owner>
int tell_usage(const Owner* owner, nebula_usage* usage) {
  if (owner == nullptr || !nebula::has_room(usage)) return EINVAL;
  const arena::Usage known = owner->usage();
  nebula::give(usage, {.size = 0,
                       .objects = known.objects,
                       .used_bytes = known.used_bytes,
                       .used_peak_bytes = known.used_peak_bytes,
                       .held_bytes = known.held_bytes});
  return 0;
}

}  // namespace

extern "C" {

NEBULA_EXPORT nebula_arena* nebula_arena_create(const nebula_arena_options* options) {
  const CalledFrom from(NEBULA_CALLER);
  nebula_arena_options wishes;
  if (!nebula::read(options, wishes)) return nullptr;
  return reinterpret_cast<nebula_arena*>(arena::Arena::create(wishes.block_bytes, limit_of(wishes.limit_bytes)));
}

NEBULA_EXPORT void nebula_arena_destroy(nebula_arena* handle) { destroy(of(handle, __func__)); }

NEBULA_EXPORT void* nebula_arena_allocate(nebula_arena* handle, std::size_t bytes) {
  const CalledFrom from(NEBULA_CALLER);
  return allocate(of(handle, __func__), bytes, kAlignment);
}

NEBULA_EXPORT void* nebula_arena_allocate_aligned(nebula_arena* handle, std::size_t alignment, std::size_t bytes) {
  const CalledFrom from(NEBULA_CALLER);
  return allocate(of(handle, __func__), bytes, alignment);
}

NEBULA_EXPORT void* nebula_arena_allocate_zeroed(nebula_arena* handle, std::size_t count, std::size_t bytes) {
  const CalledFrom from(NEBULA_CALLER);
  return allocate_zeroed(of(handle, __func__), count, bytes);
}

NEBULA_EXPORT int nebula_arena_reserve(nebula_arena* handle, std::size_t bytes) {
  const CalledFrom from(NEBULA_CALLER);
  arena::Arena* const owner = of(handle, __func__);
  if (owner == nullptr) return EINVAL;
  return owner->reserve(bytes) ? 0 : ENOMEM;
}

NEBULA_EXPORT nebula_checkpoint nebula_arena_checkpoint(nebula_arena* handle) {
  arena::Arena* const owner = of(handle, __func__);
  if (owner == nullptr) return {0, 0};
  const arena::Checkpoint checkpoint = owner->checkpoint();
  return {checkpoint.arena, checkpoint.number};
}

NEBULA_EXPORT int nebula_arena_restore(nebula_arena* handle, nebula_checkpoint checkpoint) {
  arena::Arena* const owner = of(handle, __func__);
  if (owner == nullptr) return EINVAL;
  switch (owner->restore({checkpoint.arena, checkpoint.number})) {
    case arena::Arena::Restored::kDone: return 0;
    case arena::Arena::Restored::kStale: return ESTALE;
    case arena::Arena::Restored::kFuture: return ERANGE;
    default: return EINVAL;
  }
}

NEBULA_EXPORT void nebula_arena_reset(nebula_arena* handle) {
  if (arena::Arena* const owner = of(handle, __func__)) owner->reset();
}

NEBULA_EXPORT int nebula_arena_usage(const nebula_arena* handle, nebula_usage* usage) {
  return tell_usage(of(handle, __func__), usage);
}

NEBULA_EXPORT nebula_heap* nebula_heap_create(const nebula_heap_options* options) {
  const CalledFrom from(NEBULA_CALLER);
  nebula_heap_options wishes;
  if (!nebula::read(options, wishes)) return nullptr;
  return reinterpret_cast<nebula_heap*>(arena::ObjectHeap::create(limit_of(wishes.limit_bytes)));
}

NEBULA_EXPORT void nebula_heap_destroy(nebula_heap* handle) { destroy(of(handle, __func__)); }

NEBULA_EXPORT void* nebula_heap_allocate(nebula_heap* handle, std::size_t bytes) {
  const CalledFrom from(NEBULA_CALLER);
  return allocate(of(handle, __func__), bytes, kAlignment);
}

NEBULA_EXPORT void* nebula_heap_allocate_aligned(nebula_heap* handle, std::size_t alignment, std::size_t bytes) {
  const CalledFrom from(NEBULA_CALLER);
  return allocate(of(handle, __func__), bytes, alignment);
}

NEBULA_EXPORT void* nebula_heap_allocate_zeroed(nebula_heap* handle, std::size_t count, std::size_t bytes) {
  const CalledFrom from(NEBULA_CALLER);
  return allocate_zeroed(of(handle, __func__), count, bytes);
}

NEBULA_EXPORT void* nebula_heap_reallocate(nebula_heap* handle, void* object, std::size_t bytes) {
  const CalledFrom from(NEBULA_CALLER);
  arena::ObjectHeap* const owner = of(handle, __func__);
  if (owner == nullptr) return nullptr;
  if (object == nullptr) return owner->allocate(bytes, kAlignment);
  if (bytes != 0) return owner->reallocate(object, bytes, __func__);
  owner->free(object, __func__);
  return nullptr;
}

NEBULA_EXPORT void nebula_heap_free(nebula_heap* handle, void* object) {
  arena::ObjectHeap* const owner = of(handle, __func__);
  if (owner != nullptr && object != nullptr) owner->free(object, __func__);
}

NEBULA_EXPORT std::size_t nebula_heap_usable_size(const nebula_heap* handle, const void* object) {
  const arena::ObjectHeap* const owner = of(handle, __func__);
  return owner == nullptr || object == nullptr ? 0 : owner->usable_size(object, __func__);
}

NEBULA_EXPORT int nebula_heap_usage(const nebula_heap* handle, nebula_usage* usage) {
  return tell_usage(of(handle, __func__), usage);
}

NEBULA_EXPORT nebula_pool* nebula_pool_create(std::size_t object_bytes, const nebula_pool_options* options) {
  const CalledFrom from(NEBULA_CALLER);
  nebula_pool_options wishes;
  if (!nebula::read(options, wishes)) return nullptr;
  const std::size_t alignment = wishes.alignment == 0 ? kAlignment : wishes.alignment;
  if (!is_power_of_two(alignment)) return nullptr;
  return reinterpret_cast<nebula_pool*>(arena::Pool::create(object_bytes, alignment, limit_of(wishes.limit_bytes)));
}

NEBULA_EXPORT void nebula_pool_destroy(nebula_pool* handle) { destroy(of(handle, __func__)); }

NEBULA_EXPORT void* nebula_pool_allocate(nebula_pool* handle) {
  const CalledFrom from(NEBULA_CALLER);
  arena::Pool* const owner = of(handle, __func__);
  return owner == nullptr ? nullptr : owner->allocate();
}

NEBULA_EXPORT void nebula_pool_free(nebula_pool* handle, void* object) {
  arena::Pool* const owner = of(handle, __func__);
  if (owner != nullptr && object != nullptr) owner->free(object, __func__);
}

NEBULA_EXPORT int nebula_pool_usage(const nebula_pool* handle, nebula_usage* usage) {
  return tell_usage(of(handle, __func__), usage);
}

NEBULA_EXPORT nebula_stack* nebula_stack_create(std::size_t capacity_bytes) {
  const CalledFrom from(NEBULA_CALLER);
  return reinterpret_cast<nebula_stack*>(arena::Stack::create(capacity_bytes));
}

NEBULA_EXPORT void nebula_stack_destroy(nebula_stack* handle) { destroy(of(handle, __func__)); }

NEBULA_EXPORT void* nebula_stack_allocate(nebula_stack* handle, std::size_t bytes) {
  return allocate(of(handle, __func__), bytes, kAlignment);
}

NEBULA_EXPORT void* nebula_stack_allocate_aligned(nebula_stack* handle, std::size_t alignment, std::size_t bytes) {
  return allocate(of(handle, __func__), bytes, alignment);
}

NEBULA_EXPORT int nebula_stack_begin_frame(nebula_stack* handle, nebula_frame* frame) {
  arena::Stack* const owner = of(handle, __func__);
  if (owner == nullptr || frame == nullptr) return EINVAL;
  arena::Frame begun;
  if (!owner->begin_frame(begun)) return ENOMEM;
  *frame = {begun.stack, begun.number};
  return 0;
}

NEBULA_EXPORT int nebula_stack_end_frame(nebula_stack* handle, nebula_frame frame) {
  arena::Stack* const owner = of(handle, __func__);
  if (owner == nullptr) return EINVAL;
  switch (owner->end_frame({frame.stack, frame.number})) {
    case arena::Stack::Ended::kDone: return 0;
    case arena::Stack::Ended::kNotLast: return EBUSY;
    case arena::Stack::Ended::kStale: return ESTALE;
    case arena::Stack::Ended::kFuture: return ERANGE;
    default: return EINVAL;
  }
}

NEBULA_EXPORT int nebula_stack_usage(const nebula_stack* handle, nebula_usage* usage) {
  return tell_usage(of(handle, __func__), usage);
}

}  // extern "C"
