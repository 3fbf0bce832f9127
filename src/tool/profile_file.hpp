// Heap profiles as files: pprof's format and collapsed stacks.
#pragma once

#include <profile.pb.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "tool/debug_files.hpp"

namespace nebula::tool {

// Lines of frames, the outermost first, and a number; and which file a frame's "NAME+0xADDRESS" is of.
struct CollapsedStacks {
  struct Stack {
    std::vector<std::string> frames;
    std::uint64_t value = 0;
  };
  std::vector<Stack> stacks;
  std::multimap<std::string, ModuleName> modules;  // by the name in frames
};

using ProfileFile = std::variant<pprof::Profile, CollapsedStacks>;

// Nothing where the file is neither; throws Failure, with path and reason, where it cannot be read or is damaged.
[[nodiscard]] std::optional<ProfileFile> find_profile(const std::string& path);
[[nodiscard]] ProfileFile read_profile(const std::string& path);  // throws Failure for what is none, too

// To a file, which is there whole or not at all; the empty path is standard output.
void write_pprof(const pprof::Profile& profile, const std::string& path);
void write_text(const std::string& text, const std::string& path);

// A word of the profile's table.
[[nodiscard]] const std::string& word_of(const pprof::Profile& profile, std::int64_t index);

}  // namespace nebula::tool
