// The report of leaks, to standard error at the exit: what is still allocated, exactly by size, and by call site from the samples.
// Quiet about what the C and C++ libraries and the loader keep.
#pragma once

namespace nebula::report {

// One is wanted.
void expect_leaks();
// Once, whoever calls; never in a child of fork, whose parent's it is to say how it ended.
void write_leaks_at_exit();
void note_fork_of_leaks();

}  // namespace nebula::report
