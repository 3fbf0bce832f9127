#include "heap/signal_arena.hpp"

#include <atomic>

#include "base/bits.hpp"
#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "os/process.hpp"
#include "pages/address_space.hpp"

namespace nebula::signal_arena {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::size_t kHeader = 16;  // the size, and the alignment of what follows
constexpr unsigned kPlaces = 64;
constexpr std::size_t kPiece = kUnitSize;  // what is mapped and charged at a time, and stays so

// The mark in bytes in the low 32 bits, the live objects in the others: one word, so that the mark goes back to the start
// at the very moment when nothing is live.
constexpr unsigned kLiveShift = 32;
constexpr std::uint64_t kOneLive = std::uint64_t{1} << kLiveShift;

NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> state{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> ready_bytes{0};  // mapped and charged
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> allocations{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> frees{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> deferred{0};
NEBULA_LATER_DATA constinit std::atomic<std::uint64_t> lost{0};
constinit std::atomic<void*> places[kPlaces] = {};
NEBULA_START_DATA constinit std::atomic<unsigned> places_used{0};  // of these, at most so many are filled

// Maps and charges up to `end`. Handlers on several threads may race for a piece: exactly one maps it and pays.
bool make_ready(std::size_t end) {
  constexpr int kPatience = 100;  // moments of some 50 microseconds: a handler on another thread may be mapping it
  int refusals = 0;
  for (std::uint64_t ready = ready_bytes.load(kRelaxed); ready < end; ready = ready_bytes.load(kRelaxed)) {
    if (!charge_memory(kPiece)) return false;
    if (pages::map_piece(record_map.signal_arena + ready, kPiece)) {
      ready_bytes.fetch_add(kPiece, kRelaxed);
      continue;
    }
    credit_memory(kPiece);
    if (ready_bytes.load(kRelaxed) != ready) continue;
    if (++refusals == kPatience) return false;
    os::yield_processor();
  }
  return true;
}

}  // namespace

void* allocate(std::size_t size, std::size_t alignment) {
  const std::size_t capacity = pages::capacity_of(pages::Area::kSignalArena);
  if (size > capacity / 4 || alignment > capacity / 4) return nullptr;
  if (alignment < kHeader) alignment = kHeader;
  const std::size_t bytes = round_up(size, kHeader);
  std::uint64_t before = state.load(kRelaxed);
  Address object = 0;
  std::uint64_t after = 0;
  do {
    object = round_up(record_map.signal_arena + (before & (kOneLive - 1)) + kHeader, alignment);
    const std::size_t end = object + bytes - record_map.signal_arena;
    if (end > capacity || !make_ready(end)) return nullptr;
    after = (before & ~(kOneLive - 1)) + kOneLive + end;
    // acquire: pairs with the release in deallocate, whose object's place may be handed out again.
  } while (!state.compare_exchange_weak(before, after, std::memory_order_acquire, kRelaxed));
  allocations.fetch_add(1, kRelaxed);
  *reinterpret_cast<std::size_t*>(object - kHeader) = bytes;
  return reinterpret_cast<void*>(object);
}

bool holds(const void* pointer) {
  return record_map.signal_arena != 0 &&
         reinterpret_cast<Address>(pointer) - record_map.signal_arena < ready_bytes.load(kRelaxed);
}

std::size_t size_of(const void* pointer) {
  return *reinterpret_cast<const std::size_t*>(reinterpret_cast<Address>(pointer) - kHeader);
}

void deallocate(void* pointer) {
  frees.fetch_add(1, kRelaxed);
  const Address start = reinterpret_cast<Address>(pointer) - record_map.signal_arena;
  const Address end = start + size_of(pointer);
  std::uint64_t before = state.load(kRelaxed);
  std::uint64_t after = 0;
  do {
    after = before - kOneLive;
    // The last one below the mark takes it back with it.
    if ((before & (kOneLive - 1)) == end) after -= end - (start - kHeader);
    if (after >> kLiveShift == 0) after = 0;
  } while (!state.compare_exchange_weak(before, after, std::memory_order_release, kRelaxed));
}

bool defer_free(void* pointer) {
  for (std::atomic<void*>& place : places) {
    void* empty = nullptr;
    if (!place.compare_exchange_strong(empty, pointer, std::memory_order_release, kRelaxed)) continue;
    deferred.fetch_add(1, kRelaxed);
    places_used.fetch_add(1, kRelaxed);
    return true;
  }
  lost.fetch_add(1, kRelaxed);
  return false;
}

void* take_deferred() {
  if (places_used.load(kRelaxed) == 0) return nullptr;
  for (std::atomic<void*>& place : places) {
    // acquire: pairs with the release in defer_free, so what the other thread did with the object came before.
    void* const pointer = place.exchange(nullptr, std::memory_order_acquire);
    if (pointer == nullptr) continue;
    places_used.fetch_sub(1, kRelaxed);
    return pointer;
  }
  return nullptr;
}

Counts counts() {
  return {allocations.load(kRelaxed), frees.load(kRelaxed),   state.load(kRelaxed) & (kOneLive - 1),
          ready_bytes.load(kRelaxed), deferred.load(kRelaxed), lost.load(kRelaxed)};
}

}  // namespace nebula::signal_arena
