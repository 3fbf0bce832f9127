#include "size_class/size_class.hpp"

namespace nebula {

unsigned class_index_for_aligned(std::size_t size, std::size_t alignment) {
  if (alignment > kPageSize || size > kSmallMax) return 0;
  if (size == 0) size = 1;
  for (unsigned c = class_index_for(size); c < kClassEnd; ++c)
    if (kSizeClasses.slot_size[c] % alignment == 0) return c;
  return 0;
}

}  // namespace nebula
