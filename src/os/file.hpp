// Files that appear whole or not at all: written beside their place, then renamed. Paths are null-terminated. Results below
// zero are negative error numbers.
#pragma once

#include <cstdint>

namespace nebula::os {

enum class Place {
  kFree,     // nothing there
  kRegular,  // a file that can be replaced
  kOther,    // a link, a device, a pipe: to be written where it is, or not at all
};
[[nodiscard]] Place place_at(const char* path);

// A file that was not there; one left over by a process that was killed is replaced.
[[nodiscard]] int create_new_file(const char* path);
[[nodiscard]] bool rename_file(const char* from, const char* to);

[[nodiscard]] std::uint64_t size_of_file(int descriptor);

}  // namespace nebula::os
