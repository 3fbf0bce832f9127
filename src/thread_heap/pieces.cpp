// Where in a thread heap the pools lie that swing. Under the gate, all of it.
#include "thread_heap/registry.hpp"

namespace nebula {
namespace {

// With the null under the pool.
constexpr unsigned pieces_for(unsigned slots) { return (slots + 1 + kPieceSlots - 1) / kPieceSlots; }

unsigned piece_at(unsigned place) { return (place - kLayout.pieces) / kPieceSlots; }

bool is_taken(const ThreadHeap& heap, unsigned piece) { return (heap.pieces[piece / 64] >> (piece % 64) & 1) != 0; }

// How many are free from there on, at most `most`.
unsigned free_from(const ThreadHeap& heap, unsigned first, unsigned most) {
  unsigned count = 0;
  while (count < most && first + count < kPieces && !is_taken(heap, first + count)) ++count;
  return count;
}

}  // namespace

// Else where there are enough side by side, the lowest ones.
unsigned find_pieces(const ThreadHeap& heap, unsigned c, unsigned slots) {
  const unsigned wanted = pieces_for(slots);
  if (is_in_pieces(heap, c)) {
    const unsigned own = pieces_for(limit_of(heap, c));
    const unsigned more = wanted > own ? wanted - own : 0;
    if (free_from(heap, piece_at(heap.bottom[c]) + own, more) == more) return heap.bottom[c];
  }
  unsigned first = 0;
  for (unsigned free = 0; (free = free_from(heap, first, wanted)) < wanted; first += free + 1)
    if (first + free >= kPieces) return 0;
  return kLayout.pieces + first * kPieceSlots;
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
