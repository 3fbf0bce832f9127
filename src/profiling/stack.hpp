// The call stack of an allocation, as locations from the inside out. Follows the compilers' unwind tables, and frame pointers through code
// that has none (machine code made at run time). Every word of the stack is read only after the kernel has said that its
// page can be read, so a stack that is not as it should be ends the walk and not the process. Holds no lock.
#pragma once

#include "profiling/code_map.hpp"

namespace nebula::profiling {

inline constexpr unsigned kFramesMost = 128;  // the innermost ones

struct Stack {
  LocationIndex frames[kFramesMost];
  unsigned depth = 0;
  bool is_cut = false;  // there was more
};

// Of this thread, from the caller of the library on.
void capture(Stack& stack);

}  // namespace nebula::profiling
