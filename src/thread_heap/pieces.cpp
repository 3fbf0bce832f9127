// Where in a thread heap the pools lie that swing. Under the gate, all of it.
#include "thread_heap/registry.hpp"

namespace nebula {
namespace {

// A pool begins on a line of its first piece that is its class's: were it the first line for all, they would want the same sets of the cache.
constexpr unsigned kLineSlots = kCacheLine / sizeof(void*);
constexpr unsigned offset_of(unsigned c) { return c * kLineSlots % kPieceSlots; }

unsigned piece_at(unsigned place) { return (place - kLayout.pieces) / kPieceSlots; }

// With the null under the pool.
unsigned pieces_for(unsigned place, unsigned slots) { return piece_at(place + slots) + 1 - piece_at(place); }

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
  const unsigned wanted = pieces_for(kLayout.pieces + offset_of(c), slots);
  if (is_in_pieces(heap, c)) {
    const unsigned own = pieces_for(heap.bottom[c], limit_of(heap, c));
    const unsigned more = wanted > own ? wanted - own : 0;
    if (free_from(heap, piece_at(heap.bottom[c]) + own, more) == more) return heap.bottom[c];
  }
  unsigned first = 0;
  for (unsigned free = 0; (free = free_from(heap, first, wanted)) < wanted; first += free + 1)
    if (first + free >= kPieces) return 0;
  return kLayout.pieces + first * kPieceSlots + offset_of(c);
}

void take_pieces(ThreadHeap& heap, unsigned place, unsigned slots) {
  for (unsigned piece = piece_at(place); piece < piece_at(place) + pieces_for(place, slots); ++piece)
    heap.pieces[piece / 64] |= std::uint64_t{1} << (piece % 64);
}

void free_pieces(ThreadHeap& heap, unsigned place, unsigned slots) {
  for (unsigned piece = piece_at(place); piece < piece_at(place) + pieces_for(place, slots); ++piece)
    heap.pieces[piece / 64] &= ~(std::uint64_t{1} << (piece % 64));
}

}  // namespace nebula
