// The exit report: what the program did with memory, in numbers that add up. Allocates nothing, uses no stdio, waits for
// no lock longer than a moment, and never writes into a file that the program opened.
#pragma once

#include <string_view>

namespace nebula::report {

struct Destination {
  bool wanted = false;
  std::string_view file;  // a pattern, see config::expand_path; empty: standard error
};
// Notes what may not be asked for later: a program may be in a sandbox by the time of its report, which makes do with
// fstat, getrusage, write and rt_sigprocmask, and openat and close for a file.
// A report will be written, at exit or before an abort.
void expect_report(const Destination& destination);
// Writes the report to where it belongs; once, whoever calls. In a child of fork only where it has a file of its own.
void write_at_exit();
// The process is about to die of memory: the line that says why, and the same words, to standard error and to the file,
// whether or not a report is wanted. Of several threads one writes; the others come back when it has.
void write_before_abort(std::string_view why);
// What malloc_stats prints.
void write_to_standard_error();
void note_fork();

// The numbers behind it, for mallinfo and malloc_info. All of one moment when the locks could be had in time.
struct Totals {
  unsigned long long live_bytes, pooled_bytes, depot_bytes, slab_free_bytes, dirty_bytes, metadata_bytes;
  unsigned long long committed_bytes, clean_bytes, mapped_bytes;
  unsigned long long live_objects, large_live_bytes, large_live_objects;
};
[[nodiscard]] Totals totals();

}  // namespace nebula::report
