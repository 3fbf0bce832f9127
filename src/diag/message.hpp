// Words to the person at the terminal, and the ends that a process can come to inside the allocator. write(2) only:
// nothing here allocates, takes a lock or touches errno, so all of it works in signal handlers and half-dead processes.
#pragma once

#include <atomic>
#include <cstdint>
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

// How much a message matters: kError ends the program, kWarning is what it should know, the others what it may want to.
enum class Level : std::uint8_t { kError, kWarning, kInfo, kDebug };
inline constexpr std::string_view kLevelNames[] = {"error", "warning", "info", "debug"};

// The least that is told. relaxed: set before there are threads.
extern constinit std::atomic<Level> least_told;
[[nodiscard]] inline bool tells(Level level) { return level <= least_told.load(std::memory_order_relaxed); }

// From now on, so much is told; into a file that is open to append, if it is (else negative), which this keeps. Before there are
// threads, and in a child of fork.
void set_log(Level least, int descriptor);

// One line or more, if such are told: to standard error with "nebula: " before it, or to the log with time, process and level.
// What ends the program is on standard error in any case.
void say(Level level, std::string_view lines);
inline void say(std::string_view lines) { say(Level::kWarning, lines); }

namespace fatal {
// What cannot happen has happened: says where, then aborts.
[[noreturn]] void broken(const char* what);
[[noreturn]] void abort_process();
}  // namespace fatal

}  // namespace nebula
