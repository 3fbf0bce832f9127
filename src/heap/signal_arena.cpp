#include "heap/signal_arena.hpp"

#include <atomic>

#include "base/bits.hpp"
#include "pages/region.hpp"

namespace nebula::signal_arena {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::size_t kHeader = 16;  // the size, and the alignment of what follows
constexpr unsigned kPlaces = 64;

enum class State : std::uint8_t { kUntouched, kBeingCommitted, kReady };

constinit UnitIndex arena = 0;
constinit std::atomic<State> state{State::kUntouched};
constinit std::atomic<std::size_t> mark{0};
constinit std::atomic<std::uint64_t> allocations{0};
constinit std::atomic<std::uint64_t> deferred{0};
constinit std::atomic<std::uint64_t> lost{0};
constinit std::atomic<void*> places[kPlaces] = {};
constinit std::atomic<unsigned> places_used{0};  // of these, at most so many are filled

bool make_ready() {
  // acquire / release: whoever sees kReady sees the pages committed.
  if (state.load(std::memory_order_acquire) == State::kReady) return true;
  State untouched = State::kUntouched;
  if (!state.compare_exchange_strong(untouched, State::kBeingCommitted, kRelaxed)) return false;
  const bool committed = pages::commit({first_page_of(arena), {kPagesPerUnit}});
  state.store(committed ? State::kReady : State::kUntouched, std::memory_order_release);
  return committed;
}

}  // namespace

void begin(UnitIndex unit) { arena = unit; }

void* allocate(std::size_t size) {
  if (arena == 0 || size > kUnitSize / 4 || !make_ready()) return nullptr;
  const std::size_t bytes = kHeader + round_up(size, kHeader);
  const std::size_t at = mark.fetch_add(bytes, kRelaxed);
  if (at + bytes > kUnitSize) {
    mark.fetch_sub(bytes, kRelaxed);
    return nullptr;
  }
  const Address object = address_of_unit(arena) + at + kHeader;
  *reinterpret_cast<std::size_t*>(object - kHeader) = round_up(size, kHeader);
  allocations.fetch_add(1, kRelaxed);
  return reinterpret_cast<void*>(object);
}

std::size_t size_of(const void* pointer) {
  return *reinterpret_cast<const std::size_t*>(reinterpret_cast<Address>(pointer) - kHeader);
}

bool defer_free(void* pointer) {
  for (std::atomic<void*>& place : places) {
    void* empty = nullptr;
    if (!place.compare_exchange_strong(empty, pointer, std::memory_order_release, kRelaxed)) continue;
    deferred.fetch_add(1, kRelaxed);
    places_used.fetch_add(1, std::memory_order_release);
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
  return {allocations.load(kRelaxed), mark.load(kRelaxed), deferred.load(kRelaxed), lost.load(kRelaxed)};
}

}  // namespace nebula::signal_arena
