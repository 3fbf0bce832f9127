// What kind of program a file is, and whether LD_PRELOAD can reach it. Reads the file; runs nothing.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace nebula::tool {

struct Executable {
  std::filesystem::path path;       // of the program itself: a script's interpreter
  std::vector<std::string> scripts;  // "/usr/bin/ldd is a script run by /bin/bash", outermost first
  std::string kind;                 // in words
  std::string problem;              // why no preload reaches it, or empty: "is statically linked"
  bool defines_malloc = false;      // itself, before any library is asked
  bool gains_privileges = false;    // set-user-ID and the like: the loader ignores LD_PRELOAD then
  std::vector<std::string> libraries;  // that it needs by name
};

[[nodiscard]] Executable inspect(const std::filesystem::path& program);

// The other allocator that a library or program of that name is, or empty.
[[nodiscard]] std::string allocator_named(const std::string& file_name);

}  // namespace nebula::tool
