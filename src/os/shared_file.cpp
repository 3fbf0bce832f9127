#include "os/shared_file.hpp"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string_view>

#include "base/units.hpp"
#include "os/process.hpp"
#include "os/system_call.hpp"

namespace nebula::os {
namespace {

long open_shared(const char* path, std::size_t bytes, Opening opening) {
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY;
  const long file =
      system_call(SYS_openat, AT_FDCWD, as_long(path), opening == Opening::kCreate ? kFlags | O_CREAT | O_EXCL : kFlags, 0600);
  if (file < 0) return file;
  long error = 0;
  if (opening == Opening::kCreate) {
    error = system_call(SYS_ftruncate, file, static_cast<long>(bytes));
  } else {
    struct stat facts = {};
    error = system_call(SYS_fstat, file, as_long(&facts));
    if (error == 0 && (!S_ISREG(facts.st_mode) || facts.st_uid != user_id() || facts.st_size != static_cast<off_t>(bytes)))
      error = -EACCES;
  }
  if (error == 0) return file;
  system_call(SYS_close, file);
  return error;
}

// A path of /proc about one process, null-terminated.
void write_path(char (&path)[64], int process_id, const char* end) {
  char* at = path;
  for (const char* from = "/proc/"; *from != '\0';) *at++ = *from++;
  char digits[12];
  unsigned count = 0;
  for (auto rest = static_cast<unsigned>(process_id); rest != 0 || count == 0; rest /= 10)
    digits[count++] = static_cast<char>('0' + rest % 10);
  while (count != 0) *at++ = digits[--count];
  while (*end != '\0') *at++ = *end++;
  *at = '\0';
}

}  // namespace

void* map_shared_file(const char* path, std::size_t bytes, Opening opening, int& error) {
  const long file = open_shared(path, bytes, opening);
  if (file < 0) {
    error = static_cast<int>(-file);
    return nullptr;
  }
  const long result = system_call(SYS_mmap, 0, static_cast<long>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  system_call(SYS_close, file);
  constexpr long kErrorsLeast = -4095;
  if (result > 0 || result < kErrorsLeast) return reinterpret_cast<void*>(result);
  error = static_cast<int>(-result);
  if (opening == Opening::kCreate) remove_file(path);
  return nullptr;
}

void unmap(void* where, std::size_t bytes) { system_call(SYS_munmap, as_long(where), static_cast<long>(bytes)); }

bool remove_file(const char* path) { return system_call(SYS_unlinkat, AT_FDCWD, as_long(path), 0) == 0; }

void visit_folder(const char* path, void (*visit)(const char* name, void* context), void* context) {
  struct Entry {  // as the kernel has it: linux_dirent64
    std::uint64_t inode;
    std::int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[1];
  };
  const long folder = system_call(SYS_openat, AT_FDCWD, as_long(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  alignas(Entry) char room[2048];
  for (;;) {
    const long got = system_call(SYS_getdents64, folder, as_long(room), sizeof room);
    if (got <= 0) break;
    for (long at = 0; at < got;) {
      const auto* const entry = reinterpret_cast<const Entry*>(room + at);
      visit(entry->name, context);
      at += entry->length;
    }
  }
  system_call(SYS_close, folder);
}

std::uint32_t user_id() { return static_cast<std::uint32_t>(system_call(SYS_geteuid)); }

std::uint64_t process_namespace() {
  struct stat facts = {};
  const long result = system_call(SYS_newfstatat, AT_FDCWD, as_long("/proc/self/ns/pid"), as_long(&facts), 0);
  return result == 0 ? facts.st_ino : 0;
}

// proc(5): "pid (name) state …", the start time being the 22nd field. The name may hold anything; it ends at the last ')'.
Life life_of(int process_id) {
  constexpr unsigned kState = 3;
  constexpr unsigned kStartTime = 22;
  Life life;
  if (system_call(SYS_kill, process_id, 0) == -ESRCH) life.is_alive = false;
  char path[64];
  write_path(path, process_id, "/stat");
  char room[1024];
  const std::string_view text(room, read_file(path, room));
  std::size_t at = text.rfind(')');
  if (at == std::string_view::npos) return life;
  unsigned field = 2;
  for (++at; at < text.size() && field <= kStartTime; ++at) {
    if (text[at] == ' ') ++field;
    else if (field == kState && (text[at] == 'Z' || text[at] == 'X')) life.is_alive = false;
    else if (field == kStartTime) life.start_time = life.start_time * 10 + static_cast<std::uint64_t>(text[at] - '0');
  }
  return life;
}

bool signal_self_if_handled(int signal) {
  struct {  // as the kernel has it, not libc
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    std::uint64_t mask;
  } action = {};
  if (system_call(SYS_rt_sigaction, signal, 0, as_long(&action), sizeof action.mask) != 0) return false;
  if (action.handler == SIG_DFL) return false;
  return system_call(SYS_kill, process_id(), signal) == 0;
}

void kill_self() {
  for (;;) system_call(SYS_kill, process_id(), SIGKILL);
}

}  // namespace nebula::os
