// All thread heaps, and where in each the pools lie: what the rest of this room shares.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/bits.hpp"
#include "pages/address_space.hpp"
#include "thread_heap/thread_heap.hpp"

namespace nebula {

inline constexpr unsigned kHeapsMost = 32 * 1024;
extern constinit std::atomic<std::uint32_t> heaps_reserved;  // indices below were given out
// Of 64 heaps each, which are made.
[[nodiscard]] std::atomic<std::uint64_t>& ready_word(std::uint32_t word);
extern constinit std::atomic<std::uint64_t> threads_started;
extern constinit std::atomic<std::uint32_t> threads_now;
extern constinit Lock registry_lock;
// Of each heap in use, where its thread keeps `current`. Two threads that live have two such places: a new thread that
// finds its own in here is the successor, at the same place, of one that ended without telling.
[[nodiscard]] std::atomic<Address>& owner_of(std::uint32_t heap);
// How often memory was asked back; each heap knows what it has answered.
extern constinit std::atomic<std::uint32_t> reclaim_epoch;
extern constinit Lock heapless_gate;  // of all threads without a heap

// Heaps that no thread has: for whoever comes next. take_idle: null when there is none. count_new: of one that was made for a thread.
struct IdleHeap {
  ThreadHeap* heap = nullptr;
  std::uint32_t kept_bytes = 0;  // of slots in its pools that were kept
};
[[nodiscard]] IdleHeap take_idle();
[[nodiscard]] std::uint32_t idle_heaps_now();
void count_new(const ThreadHeap& heap) NEBULA_REQUIRES(registry_lock);
enum class Pools : std::uint8_t { kEmpty, kKept, kInherited };
// False, of kept pools alone: memory was asked back meanwhile, so they are to be emptied, and the heap put then.
[[nodiscard]] bool put_idle(ThreadHeap& heap, Pools pools);
// Emptied first, with the room of its pools given back.
void put_idle_empty(ThreadHeap& heap);
// Of a thread that ends, before put_idle: what lies in its pools stays there for the next thread, up to 4 KiB each, and the answer is true, where
// nobody is to have it before, it is a page or more, and all that is kept so, with the room it takes, is at most a MiB, or a 32nd of what is
// committed. On false some of it may be in the slabs already.
[[nodiscard]] bool try_keep_pools(ThreadHeap& heap);
// In the child of a fork, once its one thread has what it inherits.
void recount_in_child();
// The heap of a thread that ended after its last destructors, at whose place this thread lives now; as it was left. Null: none.
[[nodiscard]] ThreadHeap* heap_left_here();
// Where this thread should take from: its place, or the heap that its account has there. kNoHeap: that could not be made. Holds no
// lock.
HeapId home_for(ThreadHeap& heap);
void give_up_account(ThreadHeap& heap);
// Under the gate, of a unit of another heap's slab: a tenant's next free there takes the fast path.
void see_slab(const ThreadHeap& heap, SizeClass c, UnitIndex unit);

// A heap's own pages. Of the bytes [first, end) from its start: how many pages are not charged yet; charges them, false where the budget
// refuses; gives back what is. And all that is charged.
[[nodiscard]] std::size_t missing_pages(const ThreadHeap& heap, std::size_t first, std::size_t end);
[[nodiscard]] bool commit_bytes(ThreadHeap& heap, std::size_t first, std::size_t end);
[[nodiscard]] bool commit_slots(ThreadHeap& heap, unsigned first, unsigned end);
[[nodiscard]] bool are_slots_committed(const ThreadHeap& heap, unsigned first, unsigned end);
// A part of a heap that is mapped when it is wanted first.
[[nodiscard]] bool map_part(ThreadHeap& heap, bool& is_mapped, std::size_t first, std::size_t end);
void give_back_room(ThreadHeap& heap, std::size_t first, std::size_t end);
[[nodiscard]] Pages room_of(const ThreadHeap& heap);

// Where each class's pool begins, packed at first and in room of its own when it has grown.
struct Layout {
  std::uint16_t packed[kUnitUses];
  std::uint16_t room[kUnitUses];
  std::uint16_t returns[kUnitUses];
  unsigned packed_end;
  unsigned pieces;
  unsigned pieces_end;
  unsigned end;
};

// Where the slot with this index lies, from the heap's start.
constexpr std::size_t byte_of_slot(unsigned index) { return sizeof(ThreadHeap) + index * sizeof(void*); }

// The first index at or above one that begins a page of a thread heap: what is there is mapped by itself.
consteval unsigned index_of_page(unsigned at) {
  return static_cast<unsigned>((round_up(byte_of_slot(at), kPageSize) - byte_of_slot(0)) / sizeof(void*));
}

consteval Layout make_layout() {
  Layout layout = {};
  unsigned at = 1;  // index 0 is the null of what has no class
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    layout.packed[c] = static_cast<std::uint16_t>(at);
    at += 1u + kSizeClasses.slots_per_pool_first[c];
  }
  layout.packed_end = at;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    layout.room[c] = static_cast<std::uint16_t>(at);
    at += 1u + kSizeClasses.slots_per_pool[c];
  }
  layout.pieces = index_of_page(at);
  layout.pieces_end = at = layout.pieces + kPieces * kPieceSlots;
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    layout.returns[c] = static_cast<std::uint16_t>(at);
    at += 1u + kSizeClasses.slots_per_return[c];
  }
  layout.end = at;
  return layout;
}

inline constexpr Layout kLayout = make_layout();
inline constexpr std::size_t kPackedBytes = byte_of_slot(kLayout.packed_end);
// What is mapped when the heap is made, and when its first pool swings; the rest when it frees the first slot of another node heap.
inline constexpr std::size_t kRoomBytes = byte_of_slot(kLayout.pieces);
inline constexpr std::size_t kPiecesEndBytes = byte_of_slot(kLayout.pieces_end);
static_assert(kRoomBytes % kPageSize == 0 && kPiecesEndBytes % kPageSize == 0);

inline ThreadHeap& heap_at(std::uint32_t index) {
  return *reinterpret_cast<ThreadHeap*>(record_map.thread_heaps_end - (index + std::size_t{1}) * kThreadHeapBytes);
}

// Above all indices; what is reserved may be more for a moment, when the last one is made.
inline std::uint32_t heaps_end() {
  const std::uint32_t reserved = heaps_reserved.load(std::memory_order_relaxed);
  return reserved < kHeapsMost ? reserved : kHeapsMost;
}

template <class Visitor>
void for_each_heap(Visitor visit) {
  for (std::uint32_t i = 0, end = heaps_end(); i < end; ++i) {
    // acquire: pairs with the release in create(), so the heap's fields are seen.
    if ((ready_word(i / 64).load(std::memory_order_acquire) >> (i % 64) & 1) != 0) visit(heap_at(i));
  }
}

inline unsigned top_of(const ThreadHeap& heap, unsigned place) {
  return static_cast<unsigned>(heap.word[place].load(std::memory_order_relaxed) & 0xffff);
}

// The number that the class's pool goes by. In a heap that is watched it is the one that its return pool has otherwise.
inline unsigned place_of(const ThreadHeap& heap, unsigned c) { return heap.is_watched ? kAway + c : c; }

inline unsigned pooled(const ThreadHeap& heap, unsigned c) { return top_of(heap, place_of(heap, c)) - heap.bottom[c]; }

inline unsigned limit_of(const ThreadHeap& heap, unsigned c) { return static_cast<unsigned>(heap.limit[c] - heap.bottom[c]); }

// Whether a slot is of the node heap that the thread takes from. In a heap that is watched a pool has others', too.
inline bool is_own(const ThreadHeap& heap, unsigned c, const void* slot) {
  return NodeHeap::heap_of_slab(static_cast<UnitIndex>(unit_of(slot)), size_class(c)) == heap.home;
}

inline void set_top(ThreadHeap& heap, unsigned place, unsigned top) {
  const std::uint64_t word = heap.word[place].load(std::memory_order_relaxed);
  heap.word[place].store((word & ~std::uint64_t{0xffff}) | top, std::memory_order_release);
}

inline constexpr unsigned kSentHomeMost = 8;
inline bool is_open(const ThreadHeap& heap, unsigned c) { return heap.sent_home[c] == kSentHomeMost; }

inline void allow_frees(ThreadHeap& heap, unsigned c) {
  heap.capacity[place_of(heap, c)].store(is_open(heap, c) ? heap.limit[c] : 0, std::memory_order_relaxed);
}

inline void set_limit(ThreadHeap& heap, unsigned c, unsigned slots) {
  heap.limit[c] = static_cast<std::uint16_t>(heap.bottom[c] + slots);
  allow_frees(heap, c);
}

inline bool is_in_pieces(const ThreadHeap& heap, unsigned c) { return heap.bottom[c] >= kLayout.pieces; }

// Under the gate. Twice as many slots, as far as the class may go and the budget allows; half as many, of a pool that holds no more.
enum class Trend : bool { kSame, kSwing };
void grow_pool(ThreadHeap& heap, unsigned c, Trend trend);
void shrink_pool(ThreadHeap& heap, unsigned c);
// Of a heap whose pools are empty and about to be packed.
void forget_swing(ThreadHeap& heap);

inline void mark_active(ThreadHeap& heap, unsigned c) {
  heap.active[c / 64] |= std::uint64_t{1} << (c % 64);
  heap.opened[c / 64] |= std::uint64_t{1} << (c % 64);
}

inline bool has_returns(const ThreadHeap& heap, unsigned c) { return (heap.returns_open[c / 64] >> (c % 64) & 1) != 0; }

inline unsigned returns_pooled(const ThreadHeap& heap, unsigned c) {
  if (heap.is_watched) return heap.set_aside[c];
  // Its word has no top while it is not open. Read without the gate it may be of another moment than the other pool's.
  const unsigned top = top_of(heap, kAway + c);
  return top > kLayout.returns[c] ? top - kLayout.returns[c] : 0;
}

}  // namespace nebula
