#include "diag/message.hpp"

#include "base/start_data.hpp"

#include <atomic>
#include <cstdlib>

namespace nebula {
namespace {

NEBULA_START_DATA constinit os::FileIdentity standard_error;
NEBULA_START_DATA constinit std::atomic<bool> standard_error_known{false};  // relaxed: set before threads exist
NEBULA_START_DATA constinit int kept_descriptor = -1;

}  // namespace

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

void say(std::string_view line) {
  TextOf<1024> text;
  text << "nebula: " << start_of(line, 1000) << '\n';
  write_to_standard_error(text.view());
}

namespace fatal {

void broken(const char* what) {
  TextOf<256> text;
  text << "internal error: " << what;
  say(text.view());
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
