#include "os/process.hpp"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "os/system_call.hpp"

extern "C" char* program_invocation_short_name __attribute__((weak));  // glibc

namespace nebula::os {
namespace {

std::uint64_t microseconds(const timeval& value) {
  return static_cast<std::uint64_t>(value.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(value.tv_usec);
}

// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): each bit of the result depends on each bit of the value.
std::uint64_t mix(std::uint64_t value) {
  value += 0x9e37'79b9'7f4a'7c15;
  value = (value ^ value >> 30) * 0xbf58'476d'1ce4'e5b9;
  value = (value ^ value >> 27) * 0x94d0'49bb'1331'11eb;
  return value ^ value >> 31;
}

// While it lives, a write of this thread to a pipe without readers raises no signal: it is held back, and the one that
// the write raised is taken away again. One that waited before stays.
class PipeSignalHeld {
 public:
  PipeSignalHeld() {
    is_held_ = system_call(SYS_rt_sigprocmask, SIG_BLOCK, as_long(&kPipe), as_long(&mask_before_), sizeof kPipe) == 0;
    if (!is_held_ || (mask_before_ & kPipe) == 0) return;
    Mask pending = 0;
    waited_before_ = system_call(SYS_rt_sigpending, as_long(&pending), sizeof pending) != 0 || (pending & kPipe) != 0;
  }
  ~PipeSignalHeld() {
    const timespec no_time = {0, 0};
    if (!is_held_) return;
    if (is_broken_ && !waited_before_)
      system_call(SYS_rt_sigtimedwait, as_long(&kPipe), 0, as_long(&no_time), sizeof kPipe);
    system_call(SYS_rt_sigprocmask, SIG_SETMASK, as_long(&mask_before_), 0, sizeof mask_before_);
  }
  PipeSignalHeld(const PipeSignalHeld&) = delete;
  PipeSignalHeld& operator=(const PipeSignalHeld&) = delete;

  void note_result(long written) { is_broken_ = is_broken_ || written == -EPIPE; }

 private:
  using Mask = std::uint64_t;  // as the kernel has it, not libc
  static constexpr Mask kPipe = Mask{1} << (SIGPIPE - 1);
  Mask mask_before_ = 0;
  bool is_held_ = false;
  bool waited_before_ = false;
  bool is_broken_ = false;
};

}  // namespace

Usage usage() {
  rusage raw = {};
  if (system_call(SYS_getrusage, RUSAGE_SELF, as_long(&raw)) != 0) return {};
  return {microseconds(raw.ru_utime), microseconds(raw.ru_stime), static_cast<std::uint64_t>(raw.ru_minflt),
          static_cast<std::uint64_t>(raw.ru_majflt), static_cast<std::uint64_t>(raw.ru_maxrss) * 1024};
}

int process_id() { return static_cast<int>(system_call(SYS_getpid)); }

void name_thread(const char* name) { system_call(SYS_prctl, PR_SET_NAME, as_long(name)); }

void thread_name(char* name) { system_call(SYS_prctl, PR_GET_NAME, as_long(name)); }

void send_to_this_thread(int signal) { system_call(SYS_tgkill, process_id(), thread_id(), signal); }

int thread_id() { return static_cast<int>(system_call(SYS_gettid)); }

unsigned usable_processors() {
  unsigned long mask[128] = {};  // the kernel takes no less than it has processors for: 8,192 at most
  const long bytes = system_call(SYS_sched_getaffinity, 0, sizeof mask, as_long(mask));
  unsigned count = 0;
  for (long i = 0; i < bytes / long{sizeof mask[0]}; ++i) count += static_cast<unsigned>(__builtin_popcountl(mask[i]));
  return count;
}

std::uint64_t unix_milliseconds() {
  timespec now = {};
  system_call(SYS_clock_gettime, CLOCK_REALTIME, as_long(&now));
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

bool is_secure_execution() { return getauxval(AT_SECURE) != 0; }

std::uint64_t random_start_value() {
  std::uint64_t value = 0;
  if (system_call(SYS_getrandom, as_long(&value), sizeof value, GRND_NONBLOCK) == long{sizeof value}) return value;
  const auto* const bytes = reinterpret_cast<const unsigned char*>(getauxval(AT_RANDOM));
  if (bytes == nullptr) return 0;
  std::uint64_t halves[2];  // libc's stack guard and pointer guard
  __builtin_memcpy(halves, bytes, sizeof halves);
  return mix(mix(halves[0]) + halves[1]);
}

std::size_t kernel_page_size() { return getauxval(AT_PAGESZ); }

const char* program_name() {
  const char* name = &program_invocation_short_name != nullptr ? program_invocation_short_name : nullptr;
  return name != nullptr && *name != '\0' ? name : "unknown";
}

FileIdentity identity_of(int descriptor) {
  struct stat facts = {};
  if (system_call(SYS_fstat, descriptor, as_long(&facts)) != 0) return {};
  return {facts.st_dev, facts.st_ino, true};
}

bool write_all(int descriptor, std::string_view text) {
  constexpr int kPatience = 10'000;  // a full non-blocking pipe whose reader is gone must not hold the process
  int refusals = 0;
  PipeSignalHeld signal;
  while (!text.empty()) {
    const long written = system_call(SYS_write, descriptor, as_long(text.data()), static_cast<long>(text.size()));
    signal.note_result(written);
    if ((written == -EINTR || written == -EAGAIN) && ++refusals < kPatience) {
      yield_processor();
      continue;
    }
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

namespace {

int open_to_write(const char* path, int how) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  const long file = system_call(SYS_openat, AT_FDCWD, as_long(path), kFlags | how, 0666);
  if (file == -ENXIO) return kNoPlainFile;  // a pipe without readers, a socket
  if (file < 0) return static_cast<int>(file);
  struct stat facts;
  if (system_call(SYS_fstat, file, as_long(&facts)) == 0 && (S_ISREG(facts.st_mode) || S_ISCHR(facts.st_mode)))
    return static_cast<int>(file);
  system_call(SYS_close, file);
  return kNoPlainFile;
}

}  // namespace

int create_file(const char* path) { return open_to_write(path, O_TRUNC); }

int open_to_append(const char* path) { return open_to_write(path, O_APPEND); }

int duplicate(int descriptor) {
  for (const long least : {900L, 200L, 30L}) {  // below whatever RLIMIT_NOFILE leaves
    const long copy = system_call(SYS_fcntl, descriptor, F_DUPFD_CLOEXEC, least);
    if (copy >= 0) return static_cast<int>(copy);
  }
  return -1;
}

void close_file(int descriptor) { system_call(SYS_close, descriptor); }

std::size_t read_file(const char* path, std::span<char> buffer) {
  const long file = system_call(SYS_openat, AT_FDCWD, as_long(path), O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  std::size_t length = 0;
  while (length < buffer.size()) {
    const long got = system_call(SYS_read, file, as_long(buffer.data() + length),
                                 static_cast<long>(buffer.size() - length));
    if (got == -EINTR) continue;
    if (got <= 0) break;
    length += static_cast<std::size_t>(got);
  }
  system_call(SYS_close, file);
  return length;
}

std::size_t program_path(std::span<char> buffer) {
  const long length = system_call(SYS_readlink, as_long("/proc/self/exe"), as_long(buffer.data()), static_cast<long>(buffer.size()));
  return length > 0 ? static_cast<std::size_t>(length) : 0;
}

void exit_immediately(int status) {
  for (;;) system_call(SYS_exit_group, status);
}

void wait_while(std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  system_call(SYS_futex, as_long(&word), FUTEX_WAIT_PRIVATE, static_cast<long>(expected), 0);
}

void wait_while_for(std::atomic<std::uint32_t>& word, std::uint32_t expected, unsigned milliseconds) {
  const timespec longest = {milliseconds / 1000, static_cast<long>(milliseconds % 1000) * 1'000'000};
  system_call(SYS_futex, as_long(&word), FUTEX_WAIT_PRIVATE, static_cast<long>(expected), as_long(&longest));
}

void wake_one(std::atomic<std::uint32_t>& word) { system_call(SYS_futex, as_long(&word), FUTEX_WAKE_PRIVATE, 1); }

void wake_all(std::atomic<std::uint32_t>& word) {
  system_call(SYS_futex, as_long(&word), FUTEX_WAKE_PRIVATE, 0x7fffffff);
}

void sleep_for(unsigned milliseconds) {
  static constinit std::atomic<std::uint32_t> never{0};
  wait_while_for(never, 0, milliseconds);
}

// A pause and a short sleep in the kernel by futex, which sandboxes allow where they forbid sched_yield.
void yield_processor() {
  static constinit std::atomic<std::uint32_t> never{0};
  const timespec moment = {0, 50'000};
  system_call(SYS_futex, as_long(&never), FUTEX_WAIT_PRIVATE, 0, as_long(&moment));
}

}  // namespace nebula::os
