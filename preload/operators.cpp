// operator new and delete in all their forms. New calls the program's new handler until it gives up, then throws
// bad_alloc: through libstdc++ when the process has it, because Nebula itself does not.
#include <dlfcn.h>

#include <cstdlib>
#include <new>

#include "base/bits.hpp"
#include "diag/message.hpp"
#include "heap/heap.hpp"
#include "preload/interpose.hpp"
#include "preload/operators.hpp"

namespace heap = nebula::heap;

// Their mangled names are the ABI's. Weak: absent from a program without libstdc++.
extern "C" __attribute__((weak)) std::new_handler _ZSt15get_new_handlerv() noexcept;
extern "C" __attribute__((weak)) void _ZSt17__throw_bad_allocv();

namespace nebula::operators {
namespace {

using GetHandler = std::new_handler (*)();

}  // namespace

// For a libstdc++ that came later, with a plugin, and so is not among the symbols this library was bound to.
void* late_symbol(const char* name) {
  void* const library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return library == nullptr ? nullptr : dlsym(library, name);
}

void* allocate(std::size_t size, std::size_t alignment) {
  return alignment <= kGranule ? heap::allocate(size) : heap::allocate_aligned(size, alignment);
}

std::new_handler handler_of_program() {
  if (_ZSt15get_new_handlerv != nullptr) return _ZSt15get_new_handlerv();
  const auto get = reinterpret_cast<GetHandler>(late_symbol("_ZSt15get_new_handlerv"));
  return get == nullptr ? nullptr : get();
}

}  // namespace nebula::operators

namespace {

namespace operators = nebula::operators;

using Throw = void (*)();

[[noreturn]] void throw_bad_alloc() {
  if (_ZSt17__throw_bad_allocv != nullptr) _ZSt17__throw_bad_allocv();
  if (const auto late = reinterpret_cast<Throw>(operators::late_symbol("_ZSt17__throw_bad_allocv"))) late();
  nebula::say(nebula::Level::kError, "operator new: out of memory, and no C++ library to throw bad_alloc with");
  nebula::fatal::abort_process();
}

[[gnu::noinline, gnu::cold]] void* allocate_or_throw(std::size_t size, std::size_t alignment) {
  for (;;) {
    const heap::CalledFrom from(NEBULA_CALLER);
    if (void* const object = operators::allocate(size, alignment)) return object;
    const std::new_handler handler = operators::handler_of_program();
    if (handler == nullptr) throw_bad_alloc();
    handler();
  }
}

[[gnu::noinline]] void* allocate_or_throw(std::size_t size) {
  void* const slot = heap::try_allocate_watched(size);
  return slot != nullptr ? slot : allocate_or_throw(size, 1);
}

[[gnu::always_inline]] inline void* new_or_throw(std::size_t size) {
  void* const slot = heap::try_allocate(size);
  return slot != nullptr ? slot : allocate_or_throw(size);
}

[[gnu::always_inline]] inline void* new_or_null(std::size_t size) {
  void* const slot = heap::try_allocate(size);
  return slot != nullptr ? slot : operators::allocate_or_null(size, 1);
}

[[gnu::always_inline]] inline void* new_aligned_or_throw(std::size_t size, std::size_t alignment) {
  void* const slot = heap::try_allocate_aligned(size, alignment);
  return slot != nullptr ? slot : allocate_or_throw(size, alignment);
}

std::size_t plain(std::align_val_t alignment) { return static_cast<std::size_t>(alignment); }

[[gnu::noinline]] void delete_slow(void* pointer) {
  const int kept = errno;
  heap::deallocate_slow(pointer, "operator delete");
  errno = kept;
}

[[gnu::always_inline]] inline void deallocate(void* pointer) {
  if (!nebula::try_push(pointer)) [[unlikely]] delete_slow(pointer);
}

}  // namespace

using Align = std::align_val_t;
using Nothrow = const std::nothrow_t&;

NEBULA_EXPORT void* operator new(std::size_t n) { return new_or_throw(n); }
NEBULA_EXPORT void* operator new[](std::size_t n) { return new_or_throw(n); }
NEBULA_EXPORT void* operator new(std::size_t n, Nothrow) noexcept { return new_or_null(n); }
NEBULA_EXPORT void* operator new[](std::size_t n, Nothrow) noexcept { return new_or_null(n); }
NEBULA_EXPORT void* operator new(std::size_t n, Align a) { return new_aligned_or_throw(n, plain(a)); }
NEBULA_EXPORT void* operator new[](std::size_t n, Align a) { return new_aligned_or_throw(n, plain(a)); }
NEBULA_EXPORT void* operator new(std::size_t n, Align a, Nothrow) noexcept {
  return operators::allocate_or_null(n, plain(a));
}
NEBULA_EXPORT void* operator new[](std::size_t n, Align a, Nothrow) noexcept {
  return operators::allocate_or_null(n, plain(a));
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
