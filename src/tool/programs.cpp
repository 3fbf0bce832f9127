#include "tool/programs.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

#include "tool/command.hpp"

namespace nebula::tool {
namespace {

namespace fs = std::filesystem;

bool can_run(const fs::path& path) {
  std::error_code none;
  return fs::is_regular_file(path, none) && access(path.c_str(), X_OK) == 0;
}

}  // namespace

fs::path find_library(const std::string& wanted) {
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  // Installed, as meson.build says; in a build folder.
  std::vector<fs::path> places = {here / NEBULA_LIBRARY_FROM_COMMAND, here / "../../preload/libnebula.so"};
  if (!wanted.empty()) places = {fs::absolute(wanted)};
  std::string looked;
  for (const fs::path& place : places) {
    const fs::path path = place.lexically_normal();
    looked += ' ' + path.string();
    if (!fs::is_regular_file(path)) continue;
    // The loader splits LD_PRELOAD at spaces and colons and knows no way to quote them.
    if (path.string().find_first_of(" \t\n:") != std::string::npos)
      throw Failure(fmt::format("LD_PRELOAD cannot name a library whose path has a space or a colon: {}", path.string()));
    return path;
  }
  throw Failure(fmt::format("the library is not there; looked for:{} (--library PATH names another)", looked));
}

fs::path find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (can_run(name)) return name;
  } else {
    const char* const path = std::getenv("PATH");
    std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin");
    for (std::string folder; std::getline(folders, folder, ':');)
      if (const fs::path program = fs::path(folder.empty() ? "." : folder) / name; can_run(program)) return program;
  }
  if (fs::exists(name)) throw Failure(fmt::format("not a program that can be run: {}", name), kNotRunnable);
  throw Failure(fmt::format("program not found: {}", name), kNotFound);
}

std::string preload_with(const fs::path& library) {
  const char* const others = std::getenv("LD_PRELOAD");
  return others != nullptr && *others != '\0' ? library.string() + ':' + others : library.string();
}

}  // namespace nebula::tool
