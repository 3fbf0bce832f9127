// operator new that answers null. A new handler may throw, and then the answer is null too: the one place where Nebula
// catches, in a file of its own because it alone is compiled with exceptions. What catching needs of the C++ library is
// weak: a process without one has nobody who throws.
#include <errno.h>

#include <new>

#include "heap/heap.hpp"
#include "preload/interpose.hpp"
#include "preload/operators.hpp"

asm(".weak __gxx_personality_v0\n"
    ".weak __cxa_begin_catch\n"
    ".weak __cxa_end_catch\n"
    ".weak __cxa_call_terminate\n"
    ".weak _ZSt9terminatev\n");

namespace nebula::operators {

void* allocate_or_null(std::size_t size, std::size_t alignment) noexcept {
  for (;;) {
    const heap::CalledFrom from(NEBULA_CALLER);
    if (void* const object = allocate(size, alignment)) return object;
    const std::new_handler handler = handler_of_program();
    if (handler == nullptr) return nullptr;
    try {
      handler();
    } catch (...) {
      return nullptr;
    }
  }
}

}  // namespace nebula::operators
