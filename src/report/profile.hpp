// When and where the heap profile is written. Like the other reports: nothing is allocated, no lock is waited for
// long, and a child of fork writes only into files of its own.
#pragma once

#include <string_view>

namespace nebula::report {

struct ProfileDestination {
  std::string_view file;  // a pattern, see config::expand_path
  bool pprof = false;
  bool collapsed = false;
};
// A profile is being taken; in the end it goes there.
void expect_profile(const ProfileDestination& destination);
// At exit: once, whoever calls.
void write_profile_at_exit();
// At any time, by a signal or at an interval: to a file with the number of the profile in its name.
void write_profile();
void note_fork_of_profile();

}  // namespace nebula::report
