// What /proc/self/status says. The descriptor has a high number and is looked at before each use, like the one kept of
// standard error: a program may have closed it and opened a file of its own under the number.
#include <fcntl.h>
#include <sys/syscall.h>

#include <cstring>

#include "os/process.hpp"
#include "os/system_call.hpp"

namespace nebula::os {
namespace {

constinit int status_file = -1;
constinit FileIdentity identity;

// The number behind `name`, in kB, as bytes.
bool find(std::string_view text, std::string_view name, std::uint64_t& result) {
  for (std::size_t at = 0; at + name.size() < text.size(); ++at) {
    if ((at != 0 && text[at - 1] != '\n') || std::memcmp(text.data() + at, name.data(), name.size()) != 0) continue;
    std::uint64_t value = 0;
    for (at += name.size(); at < text.size() && text[at] != '\n'; ++at)
      if (text[at] >= '0' && text[at] <= '9') value = value * 10 + static_cast<std::uint64_t>(text[at] - '0');
    result = value * 1024;
    return true;
  }
  return false;
}

}  // namespace

void watch_residence() {
  if (status_file >= 0 && identity_of(status_file) == identity) close_file(status_file);
  status_file = -1;
  const char* const path = "/proc/self/status";
  const long file = system_call(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  status_file = duplicate(static_cast<int>(file));
  close_file(static_cast<int>(file));
  identity = identity_of(status_file);
}

Residence residence() {
  if (status_file < 0 || !identity.is_open || identity_of(status_file) != identity) return {};
  char text[2048];
  const long length = system_call(SYS_pread64, status_file, reinterpret_cast<long>(text), sizeof text, 0);
  if (length <= 0) return {};
  const std::string_view words(text, static_cast<std::size_t>(length));
  Residence result;
  result.is_known = find(words, "VmRSS:", result.resident_bytes) && find(words, "VmSwap:", result.swapped_bytes);
  return result;
}

}  // namespace nebula::os
