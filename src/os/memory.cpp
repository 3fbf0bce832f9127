#include "os/memory.hpp"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>

#include "os/process.hpp"
#include "os/system_call.hpp"

namespace nebula::os {
namespace {

// Kernels before 4.17 take MAP_FIXED_NOREPLACE for a hint and may answer with another place.
constexpr int kMapFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

constexpr int kHugeTlbOf2MiB = 21 << MAP_HUGE_SHIFT;  // the exponent of 2

long as_long(Address value) { return static_cast<long>(value); }

}  // namespace

MapResult map_at(Address where, std::size_t bytes, Backing backing) {
  const int flags = backing == Backing::kHugeTlb ? kMapFlags | MAP_HUGETLB | kHugeTlbOf2MiB : kMapFlags;
  const long result = system_call(SYS_mmap, as_long(where), as_long(bytes), PROT_READ | PROT_WRITE, flags, -1, 0);
  if (result == as_long(where)) return MapResult::kMapped;
  if (result == -EEXIST) return MapResult::kTaken;
  constexpr long kErrorsLeast = -4095;
  if (result < 0 && result >= kErrorsLeast) return MapResult::kRefused;
  system_call(SYS_munmap, result, as_long(bytes));
  return MapResult::kTaken;
}

void unmap(Address where, std::size_t bytes) { system_call(SYS_munmap, as_long(where), as_long(bytes)); }

bool discard(Address where, std::size_t bytes) {
  return system_call(SYS_madvise, as_long(where), as_long(bytes), MADV_DONTNEED) == 0;
}

bool lock_on_fault(Address where, std::size_t bytes) {
  return system_call(SYS_mlock2, as_long(where), as_long(bytes), MLOCK_ONFAULT) == 0;
}

bool unlock(Address where, std::size_t bytes) { return system_call(SYS_munlock, as_long(where), as_long(bytes)) == 0; }

bool discard_locked(Address where, std::size_t bytes) {
  return system_call(SYS_madvise, as_long(where), as_long(bytes), MADV_DONTNEED_LOCKED) == 0;
}

bool advise_idle(Address where, std::size_t bytes, Advice advice) {
  const int number = advice == Advice::kFree ? MADV_FREE : advice == Advice::kCold ? MADV_COLD : MADV_PAGEOUT;
  return system_call(SYS_madvise, as_long(where), as_long(bytes), number) == 0;
}

bool map_over(Address where, std::size_t bytes) {
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  return system_call(SYS_mmap, as_long(where), as_long(bytes), PROT_READ | PROT_WRITE, kFlags, -1, 0) == as_long(where);
}

bool advise_huge_pages(Address where, std::size_t bytes, HugePages wish) {
  const int advice = wish == HugePages::kWanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
  return system_call(SYS_madvise, as_long(where), as_long(bytes), advice) == 0;
}

PopulateResult populate(Address where, std::size_t bytes) {
  long result;
  do {
    result = system_call(SYS_madvise, as_long(where), as_long(bytes), MADV_POPULATE_WRITE);
  } while (result == -EINTR || result == -EAGAIN);
  if (result == 0) return PopulateResult::kDone;
  return result == -EINVAL || result == -EPERM || result == -ENOSYS ? PopulateResult::kUnknown : PopulateResult::kRefused;
}

bool move_pages(Address from, Address to, std::size_t bytes) {
  constexpr long kFlags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
  return system_call(SYS_mremap, as_long(from), as_long(bytes), as_long(bytes), kFlags, as_long(to)) == as_long(to);
}

// The kernel reads the new signal mask before it looks at what to do with it: EFAULT when it cannot, EINVAL and nothing
// changed when it can.
bool is_readable(Address where) {
  constexpr long kNothingToDo = -1;
  constexpr long kMaskBytes = 8;
  return system_call(SYS_rt_sigprocmask, kNothingToDo, as_long(where), 0, kMaskBytes) == -EINVAL;
}

Address program_break() {
  const long result = system_call(SYS_brk, 0);
  return result > 0 ? static_cast<Address>(result) : 0;
}

namespace {
constinit std::atomic<const char*> known_huge_page_mode{nullptr};  // relaxed: points at constants
}

void read_huge_page_mode() {
  if (known_huge_page_mode.load(std::memory_order_relaxed) != nullptr) return;
  const char* mode = "unknown";
  char text[64];
  const std::size_t length = read_file("/sys/kernel/mm/transparent_hugepage/enabled", text);
  for (std::size_t i = 0; i + 1 < length; ++i)
    if (text[i] == '[') mode = text[i + 1] == 'a' ? "always" : text[i + 1] == 'm' ? "madvise" : "never";
  known_huge_page_mode.store(mode, std::memory_order_relaxed);
}

const char* huge_page_mode() {
  const char* const known = known_huge_page_mode.load(std::memory_order_relaxed);
  return known != nullptr ? known : "not read";
}

}  // namespace nebula::os
