// operator new and delete in all their forms. New calls the program's new handler until it gives up, then throws
// bad_alloc: through libstdc++ when the process has it, because Nebula itself does not.
#include <dlfcn.h>

#include <cstdlib>
#include <new>

#include "base/bits.hpp"
#include "diag/message.hpp"
#include "heap/heap.hpp"
#include "preload/interpose.hpp"

namespace heap = nebula::heap;

// Their mangled names are the ABI's. Weak: absent from a program without libstdc++.
extern "C" __attribute__((weak)) std::new_handler _ZSt15get_new_handlerv() noexcept;
extern "C" __attribute__((weak)) void _ZSt17__throw_bad_allocv();

namespace {

using GetHandler = std::new_handler (*)();
using Throw = void (*)();

// For a libstdc++ that came later, with a plugin, and so is not among the symbols this library was bound to.
void* late_symbol(const char* name) {
  void* const library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : dlsym(library, name);
}

std::new_handler handler_of_program() {
  if (_ZSt15get_new_handlerv != nullptr) return _ZSt15get_new_handlerv();
  const auto get = reinterpret_cast<GetHandler>(late_symbol("_ZSt15get_new_handlerv"));
  return get == nullptr ? nullptr : get();
}

void throw_bad_alloc() {
  if (_ZSt17__throw_bad_allocv != nullptr) _ZSt17__throw_bad_allocv();
  if (const auto late = reinterpret_cast<Throw>(late_symbol("_ZSt17__throw_bad_allocv"))) late();
  nebula::say("operator new: out of memory, and no C++ library to throw bad_alloc with");
  nebula::fatal::abort_process();
}

void* allocate(std::size_t size, std::size_t alignment) {
  return alignment <= nebula::kGranule ? heap::allocate(size) : heap::allocate_aligned(size, alignment);
}

enum class Failure { kThrow, kNull };

template <Failure kFailure>
[[gnu::noinline, gnu::cold]] void* allocate_or_fail(std::size_t size, std::size_t alignment) {
  for (;;) {
    if (void* const object = allocate(size, alignment)) return object;
    const std::new_handler handler = handler_of_program();
    if (handler == nullptr) {
      if constexpr (kFailure == Failure::kThrow) throw_bad_alloc();
      return nullptr;
    }
    handler();
  }
}

template <Failure kFailure>
[[gnu::always_inline]] inline void* allocate_new(std::size_t size) {
  if (size <= nebula::kFineMax) [[likely]] {
    void* const slot = nebula::try_pop(nebula::current_heap, (size + nebula::kGranule - 1) / nebula::kGranule);
    if (slot != nullptr) [[likely]] return slot;
  }
  return allocate_or_fail<kFailure>(size, 1);
}

template <Failure kFailure>
void* allocate_new_aligned(std::size_t size, std::align_val_t alignment) {
  return allocate_or_fail<kFailure>(size, static_cast<std::size_t>(alignment));
}

[[gnu::noinline]] void delete_slow(void* pointer) {
  const int kept = errno;
  heap::deallocate_slow(pointer, "operator delete");
  errno = kept;
}

[[gnu::always_inline]] inline void deallocate(void* pointer) {
  if (!nebula::try_push(nebula::current_heap, pointer)) [[unlikely]] delete_slow(pointer);
}

}  // namespace

using Align = std::align_val_t;
using Nothrow = const std::nothrow_t&;

NEBULA_EXPORT void* operator new(std::size_t n) { return allocate_new<Failure::kThrow>(n); }
NEBULA_EXPORT void* operator new[](std::size_t n) { return allocate_new<Failure::kThrow>(n); }
NEBULA_EXPORT void* operator new(std::size_t n, Nothrow) noexcept { return allocate_new<Failure::kNull>(n); }
NEBULA_EXPORT void* operator new[](std::size_t n, Nothrow) noexcept { return allocate_new<Failure::kNull>(n); }
NEBULA_EXPORT void* operator new(std::size_t n, Align a) { return allocate_new_aligned<Failure::kThrow>(n, a); }
NEBULA_EXPORT void* operator new[](std::size_t n, Align a) { return allocate_new_aligned<Failure::kThrow>(n, a); }
NEBULA_EXPORT void* operator new(std::size_t n, Align a, Nothrow) noexcept {
  return allocate_new_aligned<Failure::kNull>(n, a);
}
NEBULA_EXPORT void* operator new[](std::size_t n, Align a, Nothrow) noexcept {
  return allocate_new_aligned<Failure::kNull>(n, a);
}

NEBULA_EXPORT void operator delete(void* p) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete[](void* p) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete(void* p, Nothrow) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete[](void* p, Nothrow) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete(void* p, std::size_t) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete[](void* p, std::size_t) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete(void* p, Align) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete[](void* p, Align) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete(void* p, Align, Nothrow) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete[](void* p, Align, Nothrow) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete(void* p, std::size_t, Align) noexcept { deallocate(p); }
NEBULA_EXPORT void operator delete[](void* p, std::size_t, Align) noexcept { deallocate(p); }
