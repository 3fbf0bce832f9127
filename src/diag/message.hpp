// Words to the person at the terminal, and the ends that a process can come to inside the allocator. write(2) only:
// nothing here allocates, takes a lock or touches errno, so all of it works in signal handlers and half-dead processes.
#pragma once

#include <string_view>

#include "diag/text.hpp"
#include "os/process.hpp"

namespace nebula {

// The identity of fd 2 when the library started. A program that closes it and opens a file of its own under that
// number must not find our words in its file, so nothing is said once it has changed.
void remember_standard_error();
[[nodiscard]] bool standard_error_is_ours();
// Keeps a second descriptor of it, close-on-exec and out of the way, for the words at the end: every GNU tool closes its
// standard error in an exit handler, before a report can be written.
void keep_standard_error();
// Writes to standard error as it was at the start, through fd 2 or the descriptor kept; false when neither is it still.
bool write_to_standard_error(std::string_view words);

// One line to standard error, "nebula: " before it.
void say(std::string_view line);

namespace fatal {
// What cannot happen has happened: says where, then aborts.
[[noreturn]] void broken(const char* what);
[[noreturn]] void abort_process();
}  // namespace fatal

}  // namespace nebula
