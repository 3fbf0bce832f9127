// What the two files of operators share.
#pragma once

#include <cstddef>
#include <new>

namespace nebula::operators {

// A symbol of a C++ library that came later, with a plugin; null when there is none.
[[nodiscard]] void* late_symbol(const char* name);
[[nodiscard]] void* allocate(std::size_t size, std::size_t alignment);
// The program's new handler, through whichever C++ library it has; null without one.
[[nodiscard]] std::new_handler handler_of_program();
// Calls the new handler while there is one; null when there is none or it throws.
[[nodiscard]] void* allocate_or_null(std::size_t size, std::size_t alignment) noexcept;

}  // namespace nebula::operators
