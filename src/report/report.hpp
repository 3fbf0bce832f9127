// When reports are written and where: what the program did with memory, in numbers that add up. Allocates nothing, uses no
// stdio, waits for no lock longer than a moment, and never writes into a file that the program opened.
#pragma once

#include <cstdint>
#include <string_view>

#include "report/forms.hpp"
#include "stats/snapshot.hpp"

namespace nebula::report {

struct Wishes {
  std::uint8_t forms = 0;  // of config::Form, at exit; a report for another reason is text when there is none
  std::string_view file;   // a pattern, see config::expand_path; empty: the form's default
  std::uint64_t interval_milliseconds = 0;  // 0: no lines of JSON
  std::uint64_t rotate_at = 0;              // bytes of their file
};
// Notes what is wanted, and what may not be asked for later: a program may be in a sandbox by the time of its report, which
// makes do with fstat, getrusage, write and rt_sigprocmask; with pread64 for any form but text; and with openat, newfstatat,
// renameat and close for a file.
void expect(const Wishes& wishes);

// Writes the forms that were asked for; once, whoever calls. In a child of fork only what has a file of its own.
void write_at_exit();
// The process is about to die of memory: the line that says why, and the report as text to standard error, whether or not
// one is wanted, and to the files. Of several threads one writes; the others come back when it has.
void write_before_abort(std::string_view why);
// The process is about to end for another reason: as at exit, but never twice. For handlers of fatal signals too.
void write_at_end(Reason reason);
// In between. A thread that finds another at it leaves it to that one.
void write_now(Reason reason, stats::Caller caller);
// A line of the file of NEBULA_STATS_INTERVAL.
void append_line();
// Has something else written, with the buffer of output.hpp, while no report is; not when another thread is at one and does not
// finish soon.
void between_reports(void (*write)());
// What malloc_stats prints.
void write_to_standard_error();
void note_fork();

}  // namespace nebula::report
