#include "config/log.hpp"

#include <cerrno>

#include "base/start_data.hpp"
#include "config/config.hpp"
#include "os/process.hpp"

namespace nebula::config {
namespace {

constinit Log in_force;
NEBULA_LATER_DATA constinit std::uint64_t generation = 1;  // what %n stands for: a child's log is the next

// The descriptor, out of the way of the program's; negative where the file cannot be had.
int open_log(std::string_view pattern) {
  TextOf<1400> path;
  expand_path(pattern, {os::process_id(), os::program_name(), generation, os::unix_milliseconds() / 1000}, path);
  path << '\0';
  const int file = path.is_full() ? -ENAMETOOLONG : os::open_to_append(path.view().data());
  if (file < 0) return file;
  const int kept = os::duplicate(file);
  os::close_file(file);
  return kept;
}

}  // namespace

bool parse_log(std::string_view text, Log& log) {
  std::string_view rest = text;
  const std::string_view word = take_field(rest, ':');
  const bool has_file = word.size() != text.size();
  if (has_file && (rest.empty() || rest.size() > 1000)) return false;
  for (unsigned i = 0; i < sizeof kLevelNames / sizeof kLevelNames[0]; ++i) {
    if (word != kLevelNames[i]) continue;
    log = {static_cast<Level>(i), rest};
    return true;
  }
  return false;
}

void begin_log(const Log& log) {
  in_force = log;
  const int file = log.file.empty() ? -1 : open_log(log.file);
  set_log(log.least, file);
  if (log.file.empty() || file >= 0) return;
  TextOf<1200> line;
  line << "NEBULA_LOG: nothing can be added to " << log.file << "; standard error is told";
  say(line.view());
}

void begin_log_in_child() {
  ++generation;
  if (!in_force.file.empty()) begin_log(in_force);
  if (!tells(Level::kInfo)) return;
  TextOf<64> line;
  line << "a fork made process ";
  line.plain(static_cast<std::uint64_t>(os::process_id()));
  say(Level::kInfo, line.view());
}

bool has_sign(std::string_view pattern, char sign) {
  for (std::size_t i = 0; i + 1 < pattern.size(); ++i) {
    if (pattern[i] != '%') continue;
    if (pattern[++i] == sign) return true;
  }
  return false;
}

}  // namespace nebula::config
