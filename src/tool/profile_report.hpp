// A heap profile as text: its totals, and the sites with the most.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "tool/profile_file.hpp"

namespace nebula::tool {

struct ProfileWishes {
  std::vector<std::string> debug_folders;
  unsigned sites = 10;  // of each table
};

void add_profile_options(CLI::App& command, ProfileWishes& wishes);
void print_profile(ProfileFile profile, const ProfileWishes& wishes);

}  // namespace nebula::tool
