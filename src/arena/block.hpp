// The blocks that arenas, heaps, pools and stacks of the public header are made of: large objects of the ordinary allocator, so that
// budgets, accounts and reports count them like any other, and a refusal goes the same way. What is handed out lies inside a
// block, never at its start: given to free(), it is an interior pointer, which free() knows and names at once.
//
// One thread at a time for each owner; no locks. Not for signal handlers: inside an interrupted slow path every request is
// refused.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.hpp"

namespace nebula::arena {

// What is handed out begins at a multiple of this.
inline constexpr std::size_t kAlignment = 16;
// The usual block: a unit, so that free() knows it for a large object.
inline constexpr std::size_t kBlockBytes = kUnitSize;

// Every block begins so. The stamp depends on the block's address and goes with the block: memory that is no block, or no
// longer one, does not have it.
struct alignas(kCacheLine) Block {
  std::uint64_t stamp;
  std::size_t bytes;
  const void* owner;  // the arena, heap, pool or stack
  Block* previous;    // as the owner orders them
  Block* next;
};

// What an owner holds in blocks, up to a limit.
struct Holdings {
  std::size_t held = 0;
  std::size_t limit = 0;

  // At least a block's bytes, rounded up to pages; null: limit, budget or system refuse. The owner and the links are the
  // caller's to set.
  [[nodiscard]] Block* take(std::size_t bytes);
  void give_back(Block* block);
};

// The block that an address lies in; null when it is in none.
[[nodiscard]] Block* block_around(const void* pointer);

// A number for each owner that no other has or will have in this process. Never 0.
[[nodiscard]] std::uint64_t next_identity();

// What the program has of an owner and what that took.
struct Usage {
  std::uint64_t objects = 0;
  std::uint64_t used_bytes = 0;
  std::uint64_t used_peak_bytes = 0;
  std::uint64_t held_bytes = 0;
};

// Handles: the address of an owner that lies in the first of its blocks, behind the block's header. Null when it is no living
// one of the kind (the stamp says which), which is told.
template <class Owner>
[[nodiscard]] Owner* living(Owner* handle, const char* call);
void refuse_handle(const void* handle, const char* kind, const char* call);

template <class Owner>
Owner* living(Owner* handle, const char* call) {
  if (handle == nullptr) return nullptr;
  if (reinterpret_cast<Address>(handle) % alignof(Owner) == 0 && handle->stamp() == Owner::stamp_of(handle)) return handle;
  refuse_handle(handle, Owner::kKind, call);
  return nullptr;
}

// The stamp of what lies at this address and is of this kind.
[[nodiscard]] constexpr std::uint64_t stamp_at(Address address, std::uint64_t kind) { return address ^ kind; }

}  // namespace nebula::arena
