// Shared by the files that interpose: how a symbol is exported, and errno.
#pragma once

#include <errno.h>

#include <cstddef>
#include <cstdint>

#define NEBULA_EXPORT __attribute__((visibility("default"), used))

namespace nebula {

inline void* with_errno(void* object) {
  if (object == nullptr) [[unlikely]] errno = ENOMEM;
  return object;
}

}  // namespace nebula
