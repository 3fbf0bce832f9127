#include "os/file.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "os/shared_file.hpp"
#include "os/system_call.hpp"

namespace nebula::os {
namespace {

constexpr int kOpenFlags = O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

}  // namespace

Place place_at(const char* path) {
  struct stat facts = {};
  const long result = system_call(SYS_newfstatat, AT_FDCWD, as_long(path), as_long(&facts), AT_SYMLINK_NOFOLLOW);
  if (result != 0) return result == -ENOENT ? Place::kFree : Place::kOther;
  return S_ISREG(facts.st_mode) ? Place::kRegular : Place::kOther;
}

int create_new_file(const char* path) {
  constexpr int kFlags = kOpenFlags | O_CREAT | O_EXCL | O_NOFOLLOW;
  long file = system_call(SYS_openat, AT_FDCWD, as_long(path), kFlags, 0666);
  if (file == -EEXIST) {
    remove_file(path);
    file = system_call(SYS_openat, AT_FDCWD, as_long(path), kFlags, 0666);
  }
  return static_cast<int>(file);
}

bool rename_file(const char* from, const char* to) {
  return system_call(SYS_renameat, AT_FDCWD, as_long(from), AT_FDCWD, as_long(to)) == 0;
}

std::uint64_t size_of_file(int descriptor) {
  struct stat facts = {};
  return system_call(SYS_fstat, descriptor, as_long(&facts)) == 0 ? static_cast<std::uint64_t>(facts.st_size) : 0;
}

}  // namespace nebula::os
