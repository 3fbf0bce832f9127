#include "arena/block.hpp"

#include <atomic>

#include "base/bits.hpp"
#include "diag/misuse.hpp"
#include "heap/heap.hpp"
#include "pages/address_space.hpp"
#include "spans/large.hpp"
#include "sync/lock.hpp"

namespace nebula::arena {
namespace {

constexpr std::uint64_t kBlockKind = 0xb10c'9e3d'51a7'c26b;  // drawn once
constinit std::atomic<std::uint64_t> identities{0};

std::uint64_t stamp_of(const Block* block) { return stamp_at(reinterpret_cast<Address>(block), kBlockKind); }

}  // namespace

Block* Holdings::take(std::size_t bytes) {
  if (in_slow_path || bytes > PTRDIFF_MAX) return nullptr;
  const std::size_t rounded = round_up(bytes < kBlockBytes ? kBlockBytes : bytes, kPageSize);
  if (rounded > limit || held > limit - rounded) return nullptr;
  auto* const block = static_cast<Block*>(heap::allocate(rounded));
  if (block == nullptr) return nullptr;
  *block = {stamp_of(block), rounded, nullptr, nullptr, nullptr};
  held += rounded;
  return block;
}

void Holdings::give_back(Block* block) {
  held -= block->bytes;
  block->stamp = 0;
  heap::deallocate(block, "free");
}

void give_back_all(Holdings holdings, Block* first) {
  for (Block* block = first; block != nullptr;) {
    Block* const next = block->next;
    holdings.give_back(block);
    block = next;
  }
}

Block* block_around(const void* pointer) {
  const std::uint64_t unit = unit_of(pointer);
  if (unit >= heap_map.mapped_units.load(std::memory_order_relaxed)) return nullptr;
  // relaxed: of a pointer that this thread may use, as for every free.
  const unsigned use = unit_use(unit).load(std::memory_order_relaxed);
  auto head = static_cast<UnitIndex>(unit);
  if (use == static_cast<unsigned>(UnitUse::kLargeInside)) head = large::head_of(head);
  else if (use != static_cast<unsigned>(UnitUse::kLargeHead)) return nullptr;
  auto* const block = reinterpret_cast<Block*>(address_of_unit(head));
  return block->stamp == stamp_of(block) ? block : nullptr;
}

// relaxed: only that no two are the same.
std::uint64_t next_identity() { return identities.fetch_add(1, std::memory_order_relaxed) + 1; }

void refuse_handle(const void* handle, const char* kind, const char* call) { misuse::no_handle(handle, kind, call); }

}  // namespace nebula::arena
