#include "os/page_file.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstring>

#include "os/shared_file.hpp"
#include "os/system_call.hpp"

namespace nebula::os {
namespace {

constexpr mode_t kOthers = S_IRWXG | S_IRWXO;

// All blocks of the file, so that it has no holes: also where the file system cannot be asked for them. What is above the
// process's limit on file sizes must not be tried: it would be a SIGXFSZ.
long fill(long file, std::size_t bytes) {
  rlimit limit = {};
  if (system_call(SYS_getrlimit, RLIMIT_FSIZE, as_long(&limit)) == 0 && limit.rlim_cur < bytes) return -EFBIG;
  const long result = system_call(SYS_fallocate, file, 0, 0, static_cast<long>(bytes));
  if (result != -EOPNOTSUPP) return result;
  static constexpr char kZeros[4096] = {};
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t piece = bytes - done < sizeof kZeros ? bytes - done : sizeof kZeros;
    const long written = system_call(SYS_pwrite64, file, as_long(kZeros), static_cast<long>(piece), static_cast<long>(done));
    if (written == -EINTR) continue;
    if (written <= 0) return written < 0 ? written : -ENOSPC;
    done += static_cast<std::size_t>(written);
  }
  return 0;
}

}  // namespace

int open_private_directory(const char* path) {
  system_call(SYS_mkdirat, AT_FDCWD, as_long(path), S_IRWXU);  // whether it was there already shows below
  const long directory = system_call(SYS_openat, AT_FDCWD, as_long(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (directory == -ELOOP || directory == -ENOTDIR) return kNotPrivate;
  if (directory < 0) return static_cast<int>(directory);
  struct stat facts = {};
  const long status = system_call(SYS_fstat, directory, as_long(&facts));
  if (status == 0 && facts.st_uid == user_id() && (facts.st_mode & kOthers) == 0) return static_cast<int>(directory);
  system_call(SYS_close, directory);
  return status != 0 ? static_cast<int>(status) : kNotPrivate;
}

SharedFile map_new_file(int directory, const char* name, std::size_t bytes, Address where) {
  system_call(SYS_unlinkat, directory, as_long(name), 0);
  constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const long file = system_call(SYS_openat, directory, as_long(name), kFlags, S_IRUSR | S_IWUSR);
  if (file < 0) return {0, static_cast<int>(file)};
  long result = fill(file, bytes);
  if (result == 0)
    result = system_call(SYS_mmap, static_cast<long>(where), static_cast<long>(bytes), PROT_READ | PROT_WRITE,
                         where != 0 ? MAP_SHARED | MAP_FIXED : MAP_SHARED, file, 0);
  system_call(SYS_close, file);
  if (result > 0) return {static_cast<Address>(result), 0};
  system_call(SYS_unlinkat, directory, as_long(name), 0);
  return {0, static_cast<int>(result)};
}

void forget_file(Address where, std::size_t bytes) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  system_call(SYS_mmap, static_cast<long>(where), static_cast<long>(bytes), PROT_READ | PROT_WRITE, kFlags, -1, 0);
}

}  // namespace nebula::os
