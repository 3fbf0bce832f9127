#include "heap/foreign.hpp"

#include <dlfcn.h>

#include <atomic>

#include "base/start_data.hpp"
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

// What glibc keeps before each of its objects (malloc.c, "struct malloc_chunk"): a word of its own business, and the size
// with three flags in the low bits. The chunk behind has the first flag set as long as this one is an object.
constexpr std::size_t kPreviousInUse = 1;
constexpr std::size_t kMapped = 2;
constexpr std::size_t kOtherArena = 4;
constexpr std::size_t kFlags = 7;
constexpr std::size_t kHeader = 16;
constexpr std::size_t kLeastChunk = 32;
constexpr std::size_t kLargestMapping = std::size_t{1} << 47;
// The heaps of its other arenas start at multiples of this, with a "struct heap_info": the arena, which lies behind the
// first heap's info, the heap before, and the size.
constexpr std::size_t kArenaHeap = 64 * kMiB;
constexpr std::size_t kHeapInfoMost = 256;

// Where its main arena may begin: the end of brk's heap when nobody had allocated yet.
NEBULA_START_DATA constinit std::atomic<Address> main_arena{0};

std::size_t word_at(Address where) { return *reinterpret_cast<const std::size_t*>(where); }

bool is_mapped_chunk(Address chunk) {
  const std::size_t before = word_at(chunk);
  const std::size_t size = word_at(chunk + 8) & ~kFlags;
  if ((word_at(chunk + 8) & kFlags) != kMapped || size > kLargestMapping) return false;
  if (before > chunk || (chunk - before) % kPageSize != 0 || (size + before) % kPageSize != 0) return false;
  return os::is_readable(chunk - before) && os::is_readable(chunk + size - 8);
}

// Between two addresses that hold nothing but chunks, up to the top one.
bool is_chunk_within(Address chunk, Address first, Address end) {
  const std::size_t size = word_at(chunk + 8) & ~kFlags;
  if (chunk < first || chunk >= end || size > end - chunk || end - chunk - size < kHeader) return false;
  const Address next = chunk + size;
  if (!os::is_readable(next + 8)) return false;
  const std::size_t next_size = word_at(next + 8) & ~kFlags;
  return (word_at(next + 8) & kPreviousInUse) != 0 && next_size >= kHeader && next_size <= end - next;
}

bool is_chunk_of_other_arena(Address chunk) {
  const auto arena_of = [](Address heap) { return os::is_readable(heap) ? word_at(heap) : 0; };
  const Address heap = chunk & ~(kArenaHeap - 1);
  const Address arena = arena_of(heap);
  const std::size_t offset = arena % kArenaHeap;
  if (arena == 0 || arena % kHeader != 0 || offset < 2 * kHeader || offset > kHeapInfoMost) return false;
  if (arena_of(arena - offset) != arena || !os::is_readable(heap + 16)) return false;
  const std::size_t size = word_at(heap + 16);
  return size % kPageSize == 0 && size <= kArenaHeap && is_chunk_within(chunk, heap + offset, heap + size);
}

bool is_chunk_of_main_arena(Address chunk) {
  const Address first = main_arena.load(std::memory_order_relaxed);
  return first != 0 && chunk >= first && is_chunk_within(chunk, first, os::program_break());
}

// Glibc ends the program, or worse, on a pointer that is not its own: so it gets only those whose whole surroundings are
// as it makes them.
bool looks_like_libc(const void* pointer) {
  const auto address = reinterpret_cast<Address>(pointer);
  const Address chunk = address - kHeader;
  if (address % kHeader != 0 || address < kPageSize || !os::is_readable(chunk)) return false;
  const std::size_t size = word_at(chunk + 8);
  if ((size & ~kFlags) < kLeastChunk || (size & ~kFlags) % kHeader != 0) return false;
  if ((size & kMapped) != 0) return is_mapped_chunk(chunk);
  return (size & kOtherArena) != 0 ? is_chunk_of_other_arena(chunk) : is_chunk_of_main_arena(chunk);
}

}  // namespace

void begin() { main_arena.store(os::program_break(), std::memory_order_relaxed); }

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
