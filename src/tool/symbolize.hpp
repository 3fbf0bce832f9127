// Names for the addresses of a profile. What has names already keeps them.
#pragma once

#include <string>
#include <vector>

#include "tool/debug_files.hpp"
#include "tool/profile_file.hpp"

namespace nebula::tool {

// Both return what to tell people: of each file that is missing, refused or doubtful, a sentence.
[[nodiscard]] std::vector<std::string> give_names(pprof::Profile& profile, const DebugFiles& files);
[[nodiscard]] std::vector<std::string> give_names(CollapsedStacks& stacks, const DebugFiles& files);

// A frame without a name, as src/profiling/collapsed.cpp writes it: "libfoo.so+0x1234". `address` is the file's.
[[nodiscard]] std::string unnamed_frame(const std::string& path, std::uint64_t address);

}  // namespace nebula::tool
