// Units, and how memory is touched.
#pragma once

#include <cstddef>

namespace bench {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kKib = 1024;
constexpr std::size_t kMib = 1024 * kKib;

inline void* use(void* object) {
  *static_cast<volatile char*>(object) = 1;
  return object;
}

inline void* use_pages(void* object, std::size_t size, std::size_t from = 0) {
  auto* bytes = static_cast<volatile char*>(object);
  for (std::size_t i = from; i < size; i += kPage) bytes[i] = 1;
  return object;
}

}  // namespace bench
