// The forms of a profile, both without symbols: a process names modules, build ids and addresses, and symbols are found afterwards,
// where the debug information is. Read while the program runs, they show each site as it is at that moment.
#pragma once

#include "diag/text.hpp"
#include "profiling/output.hpp"
#include "profiling/sites.hpp"

namespace nebula::profiling {

struct Times {
  std::uint64_t written_at = 0;  // nanoseconds since 1970
  std::uint64_t elapsed = 0;     // nanoseconds since the start
};
// pprof's profile.proto (github.com/google/pprof), uncompressed: objects and bytes, of all allocations and of those alive.
void write_pprof(Output& output, const Times& times);

enum class Which { kLive, kAll };
// For flame graphs: a line for each site, its frames from the outermost inwards as module+0xaddress, addresses as in the module's file,
// and its bytes.
void write_collapsed(Output& output, Which which);

// module+0xaddress; the bare address where there is no module.
void write_frame(Text& text, const code_map::Location& location);

}  // namespace nebula::profiling
