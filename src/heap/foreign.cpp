#include "heap/foreign.hpp"

#include <dlfcn.h>

#include <atomic>

#include "base/units.hpp"
#include "diag/misuse.hpp"
#include "os/memory.hpp"

namespace nebula::foreign {
namespace {

using Free = void (*)(void*);
using UsableSize = std::size_t (*)(void*);

// The symbol behind ours. dlsym may allocate: by then the heap stands, and no lock is held here.
void* next_symbol(const char* name, std::atomic<void*>& known) {
  void* symbol = known.load(std::memory_order_relaxed);
  if (symbol != nullptr) return symbol;
  symbol = dlsym(RTLD_NEXT, name);
  known.store(symbol, std::memory_order_relaxed);
  return symbol;
}

// The header that glibc keeps before each of its objects: the size with three flags in the low bits. Glibc's own free
// aborts on a header that does not fit, and so would end a program whose pointer comes from elsewhere.
bool looks_like_libc(const void* pointer) {
  constexpr std::size_t kMapped = 2;
  constexpr std::size_t kOtherArena = 4;
  constexpr std::size_t kFlags = 7;
  constexpr std::size_t kHeader = 16;
  constexpr std::size_t kArenaBytes = 64 * kMiB;
  const auto address = reinterpret_cast<Address>(pointer);
  if (address % kHeader != 0 || address < kHeader || !os::is_mapped(address - kHeader)) return false;
  const auto* const header = reinterpret_cast<const std::size_t*>(address - kHeader);
  const std::size_t size = header[1] & ~kFlags;
  if (size < 2 * kHeader || size % kHeader != 0) return false;
  if ((header[1] & kMapped) != 0) return (address - kHeader - header[0]) % kPageSize == 0 && (size + header[0]) % kPageSize == 0;
  if ((header[1] & kOtherArena) != 0) return address % kArenaBytes + size <= kArenaBytes + kHeader;
  return size <= kGiB;
}

}  // namespace

void deallocate(void* pointer) {
  static constinit std::atomic<void*> known{nullptr};
  misuse::counts.foreign_pointers.fetch_add(1, std::memory_order_relaxed);
  if (!looks_like_libc(pointer)) return;
  const auto free = reinterpret_cast<Free>(next_symbol("__libc_free", known));
  if (free == nullptr) return;
  misuse::counts.foreign_to_libc.fetch_add(1, std::memory_order_relaxed);
  free(pointer);
}

std::size_t usable_size(const void* pointer) {
  static constinit std::atomic<void*> known{nullptr};
  if (!looks_like_libc(pointer)) {
    misuse::counts.foreign_pointers.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
  const auto usable = reinterpret_cast<UsableSize>(next_symbol("malloc_usable_size", known));
  return usable == nullptr ? 0 : usable(const_cast<void*>(pointer));
}

}  // namespace nebula::foreign
