// Where the words of a report go: standard error, or a file that appears whole or not at all. One writer at a time
// (report.cpp sees to it): there is one buffer. Nothing here allocates; what fails is said on standard error.
#pragma once

#include <cstdint>

#include "diag/text.hpp"

namespace nebula::report {

// Writes the words; called again where a file has to be begun again.
using Write = void (*)(Text& text);

void to_standard_error(Write write);

// path: null-terminated. Written beside it and renamed. Where that cannot be done (a device, a symbolic link, a folder that
// may not be written to) into the file itself; neither into a pipe nor a socket. `what` is named when it fails.
void to_file(const char* path, Write write, std::string_view what = "report");

// At the end of a file, whole or not at all while the file is shorter than `rotate_at`; a longer one is first renamed to
// the same name with .1 behind it.
void append_to_file(const char* path, std::uint64_t rotate_at, Write write);

}  // namespace nebula::report
