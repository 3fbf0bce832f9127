// A profile by its stacks of named frames: what a table or a flame graph is made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tool/profile_file.hpp"

namespace nebula::tool {

struct Site {
  std::vector<std::string> frames;  // the innermost first
  std::vector<std::int64_t> values;  // by the kinds of the profile
};

struct Sites {
  std::vector<std::string> kinds;  // inuse_space and so on
  std::vector<Site> sites;         // no two with the same frames

  // Of a kind, its place; throws Failure that lists the kinds there are.
  [[nodiscard]] std::size_t kind(const std::string& name) const;
};

enum class Places { kShown, kLeftOut };  // "middle (known.c:30)", or "middle" alone

[[nodiscard]] Sites sites_of(const pprof::Profile& profile, Places places);
[[nodiscard]] Sites sites_of(const CollapsedStacks& stacks);

// Collapsed stacks, a line for each site of which there is any.
[[nodiscard]] std::string collapsed_text(const Sites& sites, std::size_t kind);

}  // namespace nebula::tool
