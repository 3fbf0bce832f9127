#include "diag/message.hpp"

#include <atomic>
#include <cstdlib>

namespace nebula {
namespace {

constinit os::FileIdentity standard_error;
constinit std::atomic<bool> standard_error_known{false};  // relaxed: set before threads exist

}  // namespace

void remember_standard_error() {
  standard_error = os::identity_of(2);
  standard_error_known.store(true, std::memory_order_relaxed);
}

bool standard_error_is_ours() {
  if (!standard_error_known.load(std::memory_order_relaxed)) return true;
  return standard_error.is_open && os::identity_of(2) == standard_error;
}

void say(std::string_view line) {
  if (!standard_error_is_ours()) return;
  TextOf<1024> text;
  text << "nebula: " << line.substr(0, 1000) << '\n';
  os::write_all(2, text.view());
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
