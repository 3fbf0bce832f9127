#include "report/profile.hpp"

#include <atomic>

#include "base/start_data.hpp"
#include "config/config.hpp"
#include "diag/message.hpp"
#include "os/process.hpp"
#include "profiling/forms.hpp"
#include "report/output.hpp"
#include "report/report.hpp"
#include "stats/snapshot.hpp"

namespace nebula::report {
namespace {

constinit ProfileDestination destination;
NEBULA_START_DATA constinit bool is_expected = false;
NEBULA_LATER_DATA constinit bool is_child = false;
constinit std::uint64_t began_at = 0;                // nanoseconds
NEBULA_LATER_DATA constinit std::atomic<bool> last_is_written{false};  // relaxed: only decides who writes
// By whoever writes between reports; the names are too long for a small stack.
NEBULA_LATER_DATA constinit std::uint64_t profiles_written = 0;  // of this process
constexpr std::size_t kPathBytes = 1400;
constinit char pattern_room[kPathBytes];
constinit char path_room[kPathBytes];

void write_as_pprof(Text& text) {
  profiling::Output output(text, profiling::Output::Wrapping::kGzip);
  profiling::write_pprof(output, {os::unix_milliseconds() * 1'000'000, os::nanoseconds() - began_at});
  output.finish();
}

void write_as_collapsed(Text& text, profiling::Which which) {
  profiling::Output output(text, profiling::Output::Wrapping::kNone);
  profiling::write_collapsed(output, which);
  output.finish();
}

void write_one(std::string_view path, std::string_view ending, Write write) {
  Text whole(path_room, kPathBytes);
  whole << path << ending << '\0';
  if (whole.is_full()) say("the name of the profile's file is too long");
  else to_file(path_room, write, "profile");
}

// The name without the number of a profile would be that of the last one: one in between has its number before the ending.
void write_all(std::uint64_t number_before_ending) {
  constexpr std::string_view kEnding = ".pb.gz";
  Text path(pattern_room, kPathBytes);
  std::string_view pattern = destination.file;
  const bool has_ending = pattern.ends_with(kEnding);
  if (has_ending) pattern.remove_suffix(kEnding.size());
  config::expand_path(pattern, {stats::process_id(), os::program_name(), profiles_written, os::unix_milliseconds() / 1000}, path);
  if (number_before_ending != 0) (path << '.').plain(number_before_ending);
  if (destination.pprof) write_one(path.view(), has_ending ? kEnding : std::string_view(), write_as_pprof);
  if (!destination.collapsed) return;
  write_one(path.view(), ".live.collapsed", [](Text& text) { write_as_collapsed(text, profiling::Which::kLive); });
  write_one(path.view(), ".all.collapsed", [](Text& text) { write_as_collapsed(text, profiling::Which::kAll); });
}

void write_last() {
  ++profiles_written;
  write_all(0);
}

// Asked again here: the last one may have been written while this one waited for its turn.
void write_in_between() {
  if (last_is_written.load(std::memory_order_relaxed)) return;
  ++profiles_written;
  write_all(destination.file.find("%n") == std::string_view::npos ? profiles_written : 0);
}

bool may_write() { return is_expected && (!is_child || destination.file.find("%p") != std::string_view::npos); }

}  // namespace

void expect_profile(const ProfileDestination& wanted) {
  destination = wanted;
  began_at = os::nanoseconds();
  is_expected = true;
}

void write_profile_at_exit() {
  if (may_write() && !last_is_written.exchange(true, std::memory_order_relaxed)) between_reports(write_last);
}

void write_profile() {
  if (may_write()) between_reports(write_in_between);
}

void note_fork_of_profile() {
  is_child = true;
  profiles_written = 0;
  last_is_written.store(false, std::memory_order_relaxed);
}

}  // namespace nebula::report
