#include "failure.hpp"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace workload {
namespace {

void write_line(const char* format, va_list values) {
  char line[512];
  const int written = std::vsnprintf(line, sizeof line - 1, format, values);
  if (written < 0) return;
  auto length = static_cast<std::size_t>(written);
  if (length > sizeof line - 2) length = sizeof line - 2;
  line[length] = '\n';
  if (::write(STDERR_FILENO, line, length + 1) < 0) return;  // there is no one else to tell
}

}  // namespace

void refuse(const char* format, ...) {
  va_list values;
  va_start(values, format);
  write_line(format, values);
  va_end(values);
  ::_exit(2);
}

void fail(const char* format, ...) {
  va_list values;
  va_start(values, format);
  write_line(format, values);
  va_end(values);
  std::abort();
}

}  // namespace workload
