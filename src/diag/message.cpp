#include "diag/message.hpp"

#include "base/start_data.hpp"

#include <cstdlib>

namespace nebula {
namespace {

NEBULA_START_DATA constinit os::FileIdentity standard_error;
NEBULA_START_DATA constinit std::atomic<bool> standard_error_known{false};  // relaxed: set before threads exist
NEBULA_START_DATA constinit int kept_descriptor = -1;

// These are set where least_told is.
constinit int log_descriptor = -1;
constinit os::FileIdentity log_file;
constinit int log_process = 0;

// Each line with one write, so that those of several threads and processes do not mix. False: the file is not there any more.
bool write_to_log(Level level, std::string_view lines) {
  if (log_descriptor < 0 || os::identity_of(log_descriptor) != log_file) return false;
  while (!lines.empty()) {
    const std::string_view line = take_field(lines, '\n');
    TextOf<1200> text;
    const std::uint64_t now = os::unix_milliseconds();
    text.date_and_time(now / 1000) << ' ';
    text.plain(static_cast<std::uint64_t>(log_process)) << ' ' << kLevelNames[static_cast<unsigned>(level)] << ": "
                                                       << start_of(line, 1000) << '\n';
    if (!os::write_all(log_descriptor, text.view())) return false;
  }
  return true;
}

}  // namespace

constinit std::atomic<Level> least_told{Level::kWarning};

void remember_standard_error() {
  standard_error = os::identity_of(2);
  standard_error_known.store(true, std::memory_order_relaxed);
}

bool standard_error_is_ours() {
  if (!standard_error_known.load(std::memory_order_relaxed)) return true;
  return standard_error.is_open && os::identity_of(2) == standard_error;
}

void keep_standard_error() {
  if (standard_error.is_open) kept_descriptor = os::duplicate(2);
}

bool write_to_standard_error(std::string_view words) {
  if (standard_error_is_ours()) return os::write_all(2, words);
  // Looked at as carefully as fd 2: a program may have closed it and opened a file under its number.
  if (kept_descriptor < 0 || os::identity_of(kept_descriptor) != standard_error) return false;
  return os::write_all(kept_descriptor, words);
}

void set_log(Level least, int descriptor) {
  least_told.store(least, std::memory_order_relaxed);
  if (log_descriptor >= 0 && os::identity_of(log_descriptor) == log_file) os::close_file(log_descriptor);
  log_descriptor = descriptor;
  if (descriptor < 0) return;
  log_file = os::identity_of(descriptor);
  log_process = os::process_id();
}

void say(Level level, std::string_view lines) {
  if (!tells(level)) return;
  if (write_to_log(level, lines) && level != Level::kError) return;
  TextOf<2048> text;
  while (!lines.empty()) text << "nebula: " << start_of(take_field(lines, '\n'), 1000) << '\n';
  write_to_standard_error(text.view());
}

namespace fatal {

void broken(const char* what) {
  TextOf<256> text;
  text << "internal error: " << what;
  say(Level::kError, text.view());
  abort_process();
}

void abort_process() { std::abort(); }

}  // namespace fatal
}  // namespace nebula

#ifdef _GLIBCXX_ASSERTIONS
// Named by the checks that libstdc++'s headers put into spans and arrays; the definition lives in a library that is
// not ours to need.
namespace std {
[[noreturn]] void __glibcxx_assert_fail(const char*, int, const char*, const char* condition) noexcept;
void __glibcxx_assert_fail(const char*, int, const char*, const char* condition) noexcept {
  nebula::fatal::broken(condition);
}
}  // namespace std
#endif
