// How many slots the pools of a thread may hold, and where those lie that swing. Under the gate, all of it.
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/start_data.hpp"
#include "budget/usage.hpp"
#include "thread_heap/registry.hpp"

namespace nebula {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

constexpr std::uint32_t kSwingBytesOfThread = 2 * kMiB;
constexpr std::uint64_t kSwingBytesLeast = 16 * kMiB;

NEBULA_START_DATA constinit std::atomic<std::uint64_t> swing_bytes_of_all{0};

// Of what so many slots of a class are: beyond what a class may have that does not swing.
std::size_t swing_bytes_for(unsigned c, unsigned slots) {
  return at_least_zero(slots, kSizeClasses.slots_per_pool[c]) * slot_size(size_class(c));
}

// A class that swings asks at each of its events, so first what is the thread's own: the others' lines are theirs.
bool may_swing(const ThreadHeap& heap, std::size_t more) {
  if (heap.swing_bytes + more > kSwingBytesOfThread) return false;
  const std::uint64_t all = swing_bytes_of_all.load(kRelaxed) + more;
  return all <= kSwingBytesLeast || all <= bytes_in_use.value() / 8;
}

enum class Is : bool { kFree, kTaken };

// With the null under the pool.
constexpr unsigned pieces_for(unsigned slots) { return (slots + 1 + kPieceSlots - 1) / kPieceSlots; }

unsigned piece_at(unsigned bottom) { return (bottom - kLayout.pieces) / kPieceSlots; }

// The first such piece from there on; kPieces: none.
unsigned find_from(const ThreadHeap& heap, unsigned from, Is what) {
  while (from < kPieces) {
    const std::uint64_t taken = heap.pieces[from / 64];
    const std::uint64_t bits = (what == Is::kTaken ? taken : ~taken) >> from % 64;
    if (bits != 0) return from + static_cast<unsigned>(std::countr_zero(bits));
    from += 64 - from % 64;
  }
  return kPieces;
}

// Those of a pool with so many slots.
void mark_pieces(ThreadHeap& heap, unsigned bottom, unsigned slots, Is what) {
  for (unsigned piece = piece_at(bottom); piece < piece_at(bottom) + pieces_for(slots); ++piece) {
    const std::uint64_t bit = std::uint64_t{1} << (piece % 64);
    heap.pieces[piece / 64] = what == Is::kTaken ? heap.pieces[piece / 64] | bit : heap.pieces[piece / 64] & ~bit;
  }
}

// Where a pool of the class with so many slots may lie: where it is, if the pieces behind its own are free, else in the lowest that are
// enough side by side; 0: nowhere.
unsigned find_pieces(const ThreadHeap& heap, unsigned c, unsigned slots) {
  const unsigned wanted = pieces_for(slots);
  if (is_in_pieces(heap, c)) {
    const unsigned end = piece_at(heap.bottom[c]) + wanted;
    const unsigned own_end = piece_at(heap.bottom[c]) + pieces_for(limit_of(heap, c));
    if (end <= kPieces && find_from(heap, own_end, Is::kTaken) >= end) return heap.bottom[c];
  }
  unsigned first = find_from(heap, 0, Is::kFree);
  while (first + wanted <= kPieces) {
    const unsigned end = find_from(heap, first, Is::kTaken);
    if (end - first >= wanted) return kLayout.pieces + first * kPieceSlots;
    first = find_from(heap, end, Is::kFree);
  }
  return 0;
}

// To where it has room, with all that it holds.
void move_pool(ThreadHeap& heap, unsigned c, unsigned bottom, unsigned slots) {
  const std::uint64_t more = swing_bytes_for(c, slots) - swing_bytes_for(c, limit_of(heap, c));  // modulo 2^64
  heap.swing_bytes += static_cast<std::uint32_t>(more);
  if (more != 0) swing_bytes_of_all.fetch_add(more, kRelaxed);
  if (is_in_pieces(heap, c)) mark_pieces(heap, heap.bottom[c], limit_of(heap, c), Is::kFree);
  if (heap.bottom[c] != bottom) {
    const unsigned count = pooled(heap, c);
    std::memmove(heap.slots() + bottom, heap.slots() + heap.bottom[c], (count + 1) * sizeof(void*));
    heap.bottom[c] = static_cast<std::uint16_t>(bottom);
    set_top(heap, place_of(heap, c), bottom + count);
  }
  if (is_in_pieces(heap, c)) mark_pieces(heap, bottom, slots, Is::kTaken);
  set_limit(heap, c, slots);
}

bool grow_in_pieces(ThreadHeap& heap, unsigned c, unsigned slots) {
  if (!may_swing(heap, swing_bytes_for(c, slots) - swing_bytes_for(c, limit_of(heap, c)))) return false;
  if (!map_part(heap, heap.has_pieces, kRoomBytes, kPiecesEndBytes)) return false;
  const unsigned bottom = find_pieces(heap, c, slots);
  if (bottom == 0 || !commit_slots(heap, bottom, bottom + slots + 1)) return false;
  move_pool(heap, c, bottom, slots);
  return true;
}

}  // namespace

void grow_pool(ThreadHeap& heap, unsigned c, Trend trend) {
  const unsigned base = kSizeClasses.slots_per_pool[c];
  const unsigned most = trend == Trend::kSwing ? kSizeClasses.slots_per_pool_swing[c] : base;
  const unsigned before = limit_of(heap, c);
  const unsigned wanted = std::min(before * 2, most);
  if (wanted > before && wanted > base && grow_in_pieces(heap, c, wanted)) return;
  const unsigned in_room = std::min(wanted, base);
  const unsigned bottom = kLayout.room[c];
  if (in_room > before && commit_slots(heap, bottom, bottom + in_room + 1)) move_pool(heap, c, bottom, in_room);
}

void shrink_pool(ThreadHeap& heap, unsigned c) {
  const unsigned first = kSizeClasses.slots_per_pool_first[c];
  const unsigned before = limit_of(heap, c);
  const unsigned less = std::max(before / 2, first);
  if (less >= before || less < pooled(heap, c)) return;
  unsigned bottom = heap.bottom[c];
  if (is_in_pieces(heap, c)) {
    // It leaves them for what is charged already: nothing that gives memory back asks for some.
    const unsigned room = kLayout.room[c];
    if (less == first) bottom = kLayout.packed[c];
    else if (less <= kSizeClasses.slots_per_pool[c] && are_slots_committed(heap, room, room + less + 1)) bottom = room;
  }
  move_pool(heap, c, bottom, less);
}

void forget_swing(ThreadHeap& heap) {
  swing_bytes_of_all.fetch_sub(heap.swing_bytes, kRelaxed);
  heap.swing_bytes = 0;
  for (std::uint64_t& bits : heap.pieces) bits = 0;
}

}  // namespace nebula
