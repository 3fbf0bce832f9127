// Shared by the files that interpose: how a symbol is exported, and errno.
#pragma once

#include <errno.h>

#include <cstddef>
#include <cstdint>

#define NEBULA_EXPORT __attribute__((visibility("default"), used))
// In a slow path: where the call of the exported function comes from. The fast paths jump to these functions (a sibling call, which
// every optimised build makes of them), so it costs them nothing; one that is not optimised finds this library.
#define NEBULA_CALLER __builtin_return_address(0)

namespace nebula {

inline void* with_errno(void* object) {
  if (object == nullptr) [[unlikely]] errno = ENOMEM;
  return object;
}

}  // namespace nebula
