// Where in a thread heap the pools lie that swing. Under the gate, all of it.
#include <bit>

#include "thread_heap/registry.hpp"

namespace nebula {
namespace {

// With the null under the pool.
constexpr unsigned pieces_for(unsigned slots) { return (slots + 1 + kPieceSlots - 1) / kPieceSlots; }

unsigned piece_at(unsigned place) { return (place - kLayout.pieces) / kPieceSlots; }

enum class Is : bool { kFree, kTaken };

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

}  // namespace

// Else where there are enough side by side, the lowest ones.
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

void take_pieces(ThreadHeap& heap, unsigned place, unsigned slots) {
  for (unsigned piece = piece_at(place); piece < piece_at(place) + pieces_for(slots); ++piece)
    heap.pieces[piece / 64] |= std::uint64_t{1} << (piece % 64);
}

void free_pieces(ThreadHeap& heap, unsigned place, unsigned slots) {
  for (unsigned piece = piece_at(place); piece < piece_at(place) + pieces_for(slots); ++piece)
    heap.pieces[piece / 64] &= ~(std::uint64_t{1} << (piece % 64));
}

}  // namespace nebula
