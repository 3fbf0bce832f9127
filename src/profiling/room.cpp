#include "profiling/room.hpp"

#include <atomic>

#include "base/bits.hpp"
#include "os/process.hpp"
#include "pages/address_space.hpp"

namespace nebula::profiling::room {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::size_t kStep = 16;
constexpr std::size_t kPiece = kUnitSize;

constinit std::atomic<std::uint64_t> mark{kStep};     // the first step is nobody's
constinit std::atomic<std::uint64_t> ready_bytes{0};  // mapped and charged

// Several threads may race for a piece: exactly one maps it and pays.
bool make_ready(std::size_t end) {
  constexpr int kPatience = 100;  // moments of some 50 microseconds
  int refusals = 0;
  for (std::uint64_t ready = ready_bytes.load(kRelaxed); ready < end; ready = ready_bytes.load(kRelaxed)) {
    const std::size_t piece = round_up(end - ready, kPiece);
    if (!pages::commit_metadata(piece)) return false;
    if (pages::map_piece(record_map.profile + ready, piece)) {
      ready_bytes.fetch_add(piece, kRelaxed);
      continue;
    }
    pages::uncommit_metadata(piece);
    if (ready_bytes.load(kRelaxed) != ready) continue;
    if (++refusals == kPatience) return false;
    os::yield_processor();
  }
  return true;
}

}  // namespace

void* allocate(std::size_t bytes) {
  const std::size_t rounded = round_up(bytes, kStep);
  std::uint64_t before = mark.load(kRelaxed);
  do {
    if (before + rounded > pages::capacity_of(pages::Area::kProfile) || !make_ready(before + rounded)) return nullptr;
    // relaxed: the memory is fresh, nobody else's words are in it.
  } while (!mark.compare_exchange_weak(before, before + rounded, kRelaxed));
  return reinterpret_cast<void*>(record_map.profile + before);
}

void give_back(void* last, std::size_t bytes) {
  const std::uint64_t start = reinterpret_cast<Address>(last) - record_map.profile;
  std::uint64_t end = start + round_up(bytes, kStep);
  __builtin_memset(last, 0, bytes);
  // release: whoever gets it next finds the zeros.
  mark.compare_exchange_strong(end, start, std::memory_order_release, kRelaxed);
}

unsigned offset_of(const void* object) {
  return static_cast<unsigned>((reinterpret_cast<Address>(object) - record_map.profile) / kStep);
}

void* at(unsigned offset) { return reinterpret_cast<void*>(record_map.profile + std::size_t{offset} * kStep); }

std::size_t used() { return mark.load(kRelaxed); }

}  // namespace nebula::profiling::room
