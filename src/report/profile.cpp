#include "report/profile.hpp"

#include <atomic>

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
constinit bool is_expected = false;
constinit bool is_child = false;
constinit std::uint64_t began_at = 0;                // nanoseconds
constinit std::atomic<bool> last_is_written{false};  // relaxed: only decides who writes
// By whoever writes between reports; the names are too long for a small stack.
constinit std::uint64_t profiles_written = 0;  // of this process
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

void write_all() {
  Text path(pattern_room, kPathBytes);
  config::expand_path(destination.file, {stats::process_id(), os::program_name(), ++profiles_written, os::unix_milliseconds() / 1000},
                      path);
  if (destination.pprof) write_one(path.view(), {}, write_as_pprof);
  if (!destination.collapsed) return;
  constexpr std::string_view kEnding = ".pb.gz";
  std::string_view name = path.view();
  if (name.ends_with(kEnding)) name.remove_suffix(kEnding.size());
  write_one(name, ".live.collapsed", [](Text& text) { write_as_collapsed(text, profiling::Which::kLive); });
  write_one(name, ".all.collapsed", [](Text& text) { write_as_collapsed(text, profiling::Which::kAll); });
}

bool may_write() { return is_expected && (!is_child || destination.file.find("%p") != std::string_view::npos); }

}  // namespace

void expect_profile(const ProfileDestination& wanted) {
  destination = wanted;
  began_at = os::nanoseconds();
  is_expected = true;
}

void write_profile_at_exit() {
  if (may_write() && !last_is_written.exchange(true, std::memory_order_relaxed)) between_reports(write_all);
}

void write_profile() {
  if (may_write() && !last_is_written.load(std::memory_order_relaxed)) between_reports(write_all);
}

void note_fork_of_profile() {
  is_child = true;
  profiles_written = 0;
  last_is_written.store(false, std::memory_order_relaxed);
}

}  // namespace nebula::report
