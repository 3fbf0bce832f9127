// Who holds the memory, in a few lines: for the moment when a limit is met. Allocates nothing, and waits for no lock longer
// than a moment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "diag/text.hpp"

namespace nebula::report {

// The sizes with most live bytes, the first most of all; `slot_size` 0 stands for all large objects together.
struct SizeHolder {
  std::uint64_t slot_size = 0;
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
};
unsigned largest_sizes(std::span<SizeHolder> result);

// "nebula:   …" lines: live by size and by thread, and what is free and in which place.
void describe_holders(Text& text);

}  // namespace nebula::report
