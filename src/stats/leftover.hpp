// What is still allocated at the exit, and which of it the C and C++ libraries and the loader keep for themselves: objects that
// their writable data leads to, straight or through other objects. Every word there that could be a pointer counts as one, as in
// Boehm and Weiser, "Garbage collection in an uncooperative environment" (1988). What the program still holds is not told
// from what it has lost: both are alive.
//
// For the exit: under all locks, allocates nothing, uses the profile's room for its marks.
#pragma once

#include <cstdint>

#include "size_class/size_class.hpp"

namespace nebula::stats {

struct Leftover {
  bool is_complete = false;  // all locks were had, and there was room for the marks
  // What the libraries keep of each class, of large objects, and in bump blocks.
  static constexpr unsigned kLarge = 0;
  static constexpr unsigned kInBlocks = kClassEnd;
  static constexpr unsigned kKinds = kClassEnd + 1;
  struct Kept {
    std::uint64_t objects = 0;
    std::uint64_t bytes = 0;
  };
  Kept kept[kKinds] = {};
};

// Once: the sites are told which of their samples are kept.
void find_leftover(Leftover& result);

}  // namespace nebula::stats
