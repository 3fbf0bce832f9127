// The C allocation functions, under all the names that programs and libc use. Nothing but interposition, argument checks
// and errno: what they do is in src/heap.
//
// free keeps errno (POSIX 2024): nothing below sets it, except libc's own free for a pointer that is libc's.
#include <errno.h>

#include <cstring>

#include "base/bits.hpp"
#include "heap/heap.hpp"
#include "preload/interpose.hpp"

using nebula::with_errno;
namespace heap = nebula::heap;

namespace {

constexpr std::size_t kPage = nebula::kPageSize;

[[gnu::noinline]] void* allocate_slower(std::size_t size) {
  const heap::CalledFrom from(NEBULA_CALLER);
  return with_errno(heap::allocate_slow(size));
}

[[gnu::noinline]] void* allocate_slow(std::size_t size) {
  void* const slot = heap::try_allocate_watched(size);
  return slot != nullptr ? slot : allocate_slower(size);
}

// The classes above the fine ones are found in a table, not much slower.
[[gnu::noinline]] void* allocate_coarse(std::size_t size) {
  void* const slot = heap::try_allocate_coarse(size);
  return slot != nullptr ? slot : allocate_slow(size);
}

[[gnu::always_inline]] inline void free_keeping_errno(void* pointer, const char* call) {
  const int kept = errno;
  heap::deallocate_slow(pointer, call);
  errno = kept;
}

[[gnu::noinline]] void free_slow(void* pointer) { free_keeping_errno(pointer, "free"); }

[[gnu::noinline]] void free_in_realloc_slow(void* pointer) { free_keeping_errno(pointer, "realloc"); }

[[gnu::always_inline]] inline void free_in_realloc(void* pointer) {
  if (!nebula::try_push(pointer)) [[unlikely]] free_in_realloc_slow(pointer);
}

[[gnu::noinline]] void* calloc_slow(std::size_t size) {
  const heap::CalledFrom from(NEBULA_CALLER);
  return with_errno(heap::allocate_zeroed_slow(size));
}

[[gnu::noinline]] void* aligned_slow(std::size_t size, std::size_t alignment) {
  const heap::CalledFrom from(NEBULA_CALLER);
  return with_errno(heap::allocate_aligned_slow(size, alignment));
}

[[gnu::always_inline]] inline void* allocate_aligned(std::size_t size, std::size_t alignment) {
  void* const slot = heap::try_allocate_aligned(size, alignment);
  return slot != nullptr ? slot : aligned_slow(size, alignment);
}

[[gnu::noinline]] void* reallocate_slower(void* pointer, std::size_t size) {
  const heap::CalledFrom from(NEBULA_CALLER);
  if (pointer == nullptr) return with_errno(heap::allocate(size));
  if (size == 0) {
    free_in_realloc(pointer);
    return nullptr;
  }
  return with_errno(heap::reallocate_slow(pointer, size));
}

[[gnu::noinline]] void* reallocate_slow(void* pointer, std::size_t size) {
  void* const moved = heap::try_copy(pointer, size);
  if (moved == nullptr) return reallocate_slower(pointer, size);
  free_in_realloc(pointer);
  return moved;
}

[[gnu::always_inline]] inline void* reallocate(void* pointer, std::size_t size) {
  return heap::fits_in_place(pointer, size) ? pointer : reallocate_slow(pointer, size);
}

}  // namespace

extern "C" {

NEBULA_EXPORT void* malloc(std::size_t size) noexcept {
  if (size > nebula::kFineMax) [[unlikely]] return allocate_coarse(size);
  void* const slot = heap::try_allocate(size);
  return slot != nullptr ? slot : allocate_slow(size);
}

NEBULA_EXPORT void free(void* pointer) noexcept {
  if (!nebula::try_push(pointer)) [[unlikely]] free_slow(pointer);
}

NEBULA_EXPORT void* calloc(std::size_t count, std::size_t size) noexcept {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  void* const slot = heap::try_allocate(bytes);
  return slot != nullptr ? heap::clear_slot(slot, bytes) : calloc_slow(bytes);
}

NEBULA_EXPORT void* realloc(void* pointer, std::size_t size) noexcept { return reallocate(pointer, size); }

NEBULA_EXPORT void* reallocarray(void* pointer, std::size_t count, std::size_t size) noexcept {
  std::size_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return nullptr;
  }
  return reallocate(pointer, bytes);
}

NEBULA_EXPORT void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  if (!nebula::is_power_of_two(alignment)) {
    errno = EINVAL;
    return nullptr;
  }
  return allocate_aligned(size, alignment);
}

// As in glibc, an alignment that is no power of two means the next one.
NEBULA_EXPORT void* memalign(std::size_t alignment, std::size_t size) noexcept {
  if (alignment > PTRDIFF_MAX) {
    errno = EINVAL;
    return nullptr;
  }
  return allocate_aligned(size, std::bit_ceil(alignment));
}

NEBULA_EXPORT int posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  if (!nebula::is_power_of_two(alignment) || alignment < sizeof(void*)) return EINVAL;
  const int kept = errno;
  const heap::CalledFrom from(NEBULA_CALLER);
  void* const object = heap::allocate_aligned(size, alignment);
  errno = kept;
  if (object == nullptr) return ENOMEM;
  *result = object;
  return 0;
}

NEBULA_EXPORT void* valloc(std::size_t size) noexcept { return allocate_aligned(size, kPage); }

NEBULA_EXPORT void* pvalloc(std::size_t size) noexcept {
  if (size > PTRDIFF_MAX) {
    errno = ENOMEM;
    return nullptr;
  }
  return allocate_aligned(nebula::round_up(size, kPage), kPage);
}

NEBULA_EXPORT std::size_t malloc_usable_size(void* pointer) noexcept { return heap::usable_size(pointer); }

#if defined(__clang__)
#define NEBULA_ALIAS(of) NEBULA_EXPORT __attribute__((alias(#of)))
#else
#define NEBULA_ALIAS(of) NEBULA_EXPORT __attribute__((alias(#of), copy(of)))
#endif
NEBULA_ALIAS(free) void cfree(void*) noexcept;
NEBULA_EXPORT void free_sized(void* pointer, std::size_t) noexcept { free(pointer); }
NEBULA_EXPORT void free_aligned_sized(void* pointer, std::size_t, std::size_t) noexcept { free(pointer); }
NEBULA_ALIAS(malloc) void* __libc_malloc(std::size_t) noexcept;
NEBULA_ALIAS(free) void __libc_free(void*) noexcept;
NEBULA_ALIAS(free) void __libc_cfree(void*) noexcept;
NEBULA_ALIAS(calloc) void* __libc_calloc(std::size_t, std::size_t) noexcept;
NEBULA_ALIAS(realloc) void* __libc_realloc(void*, std::size_t) noexcept;
NEBULA_ALIAS(memalign) void* __libc_memalign(std::size_t, std::size_t) noexcept;
NEBULA_ALIAS(valloc) void* __libc_valloc(std::size_t) noexcept;
NEBULA_ALIAS(pvalloc) void* __libc_pvalloc(std::size_t) noexcept;
NEBULA_ALIAS(posix_memalign) int __posix_memalign(void**, std::size_t, std::size_t) noexcept;

}  // extern "C"
