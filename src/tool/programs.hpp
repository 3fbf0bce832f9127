// Where things are on this machine: the library that belongs to this command, and the program that a name means.
#pragma once

#include <filesystem>
#include <string>

namespace nebula::tool {

// The library to preload: `wanted` if not empty, else the one installed or built with this command. Throws Failure when
// there is none, or the loader could not take its path.
[[nodiscard]] std::filesystem::path find_library(const std::string& wanted);

// As a shell finds it. Throws Failure with status 127 or 126.
[[nodiscard]] std::filesystem::path find_program(const std::string& name);

// LD_PRELOAD for a program: the library before what is there already.
[[nodiscard]] std::string preload_with(const std::filesystem::path& library);

}  // namespace nebula::tool
