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
  Block* previous;    // in a list of the owner's
  Block* next;
};

// Blocks, or runs of slots, in no order.
template <class Node>
struct List {
  Node* first = nullptr;

  void add(Node* node) {
    node->previous = nullptr;
    node->next = first;
    if (first != nullptr) first->previous = node;
    first = node;
  }
  void remove(Node* node) {
    (node->previous != nullptr ? node->previous->next : first) = node->next;
    if (node->next != nullptr) node->next->previous = node->previous;
  }
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

// Frees this block and those that follow it. The holdings are a copy: their owner lies in one of the blocks.
void give_back_all(Holdings holdings, Block* first);

// The block that an address lies in; null when it is in none.
[[nodiscard]] Block* block_around(const void* pointer);

// A number for each owner that no other has or will have in this process. Never 0.
[[nodiscard]] std::uint64_t next_identity();

inline constexpr std::size_t kRequestMost = PTRDIFF_MAX / 2;  // of a size with its alignment

// The stamp of what lies at this address and is of this kind.
[[nodiscard]] constexpr std::uint64_t stamp_at(Address address, std::uint64_t kind) { return address ^ kind; }

void refuse_handle(const void* handle, const char* kind, const char* call);

// What the program has of an owner and what that took.
struct Usage {
  std::uint64_t objects = 0;
  std::uint64_t used_bytes = 0;
  std::uint64_t used_peak_bytes = 0;
  std::uint64_t held_bytes = 0;
};

// What an owner begins with: a number of its kind, drawn once, that depends on the address and goes with the owner. A handle is the
// address of an owner, which lies in the first of its blocks behind the block's header.
template <std::uint64_t kKindNumber>
class Stamped {
 public:
  [[nodiscard]] bool is_living() const { return stamp_ == stamp_of(this); }

 protected:
  Stamped() : stamp_(stamp_of(this)) {}
  void end() { stamp_ = 0; }

 private:
  static std::uint64_t stamp_of(const Stamped* owner) { return stamp_at(reinterpret_cast<Address>(owner), kKindNumber); }

  std::uint64_t stamp_;
};

// The handle; null when it is no living owner of the kind, which is told.
template <class Owner>
[[nodiscard]] Owner* living(Owner* handle, const char* call) {
  if (handle == nullptr) return nullptr;
  if (reinterpret_cast<Address>(handle) % alignof(Owner) == 0 && handle->is_living()) return handle;
  refuse_handle(handle, Owner::kKind, call);
  return nullptr;
}

// The record with this number, of those from `last` back, whose numbers fall; null where there is none.
template <class Record>
[[nodiscard]] Record* find_numbered(Record* last, std::uint64_t number) {
  while (last != nullptr && last->number > number) last = last->previous;
  return last != nullptr && last->number == number ? last : nullptr;
}

}  // namespace nebula::arena
