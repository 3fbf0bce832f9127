// Pointers that are not of this heap: a second allocator in the process, a plugin opened with RTLD_DEEPBIND, libc's own.
// Counted; handed to libc when they look like libc's, else left alone, which leaks them and harms nothing.
#pragma once

#include <cstddef>

namespace nebula::foreign {

// Called once, before anything else could allocate: notes where libc's main arena would begin.
void begin();
void deallocate(void* pointer);
// 0 when it is not known whose it is.
[[nodiscard]] std::size_t usable_size(const void* pointer);

}  // namespace nebula::foreign
