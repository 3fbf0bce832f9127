#include "spans/reserve.hpp"

namespace nebula::reserve {
namespace {

constinit Facts what;  // written at the start, by one thread

constexpr Units kPieceMost = {32 * std::size_t{kUnitsPerRegion}};

// Taken, and not yet given back: a list through the memory itself.
struct Piece {
  UnitIndex next;
  Units units;
};
Piece& piece_at(UnitIndex first) { return *reinterpret_cast<Piece*>(address_of_unit(first)); }

UnitIndex take_committed(SpanHeap& spans, Units units) {
  const UnitIndex first = spans.take(units, {1});
  if (first == kNoUnit || pages::commit(pages::pages_of(first, units), Account::Reserve::kMustLeave)) return first;
  spans.give_back(first, units);
  return kNoUnit;
}

// A region at a time, so that it is known how far it went.
std::uint64_t touch(UnitIndex first, Units units) {
  std::uint64_t touched = 0;
  while (units.count != 0) {
    const Units step = units < Units{kUnitsPerRegion} ? units : Units{kUnitsPerRegion};
    if (!pages::touch(pages::pages_of(first, step))) break;
    touched += step.bytes();
    first += static_cast<UnitIndex>(step.count);
    units = units - step;
  }
  return touched;
}

}  // namespace

bool fill(SpanHeap& spans, std::uint64_t bytes) {
  what.asked_bytes = bytes;
  Units left = units_for(pages_for(bytes));
  // The pool of huge pages is to give what it has, if not all.
  Units piece = page_policy.uses_huge_tlb ? Units{kUnitsPerRegion} : kPieceMost;
  UnitIndex pieces = kNoUnit;
  while (left.count != 0 && piece.count != 0) {
    const Units units = left < piece ? left : piece;
    const UnitIndex first = take_committed(spans, units);
    if (first == kNoUnit) {
      piece = {units.count / 2};
      continue;
    }
    left = left - units;
    what.obtained_bytes += units.bytes();
    const std::uint64_t touched = touch(first, units);
    what.touched_bytes += touched;
    if (touched == 0) {  // not to be written to: a list cannot hold it, and more would fare no better
      spans.give_back(first, units);
      break;
    }
    piece_at(first) = {pieces, units};
    pieces = first;
  }
  while (pieces != kNoUnit) {
    const Piece taken = piece_at(pieces);
    spans.give_back(pieces, taken.units);
    pieces = taken.next;
  }
  spans.keep({what.obtained_bytes / kPageSize});
  return what.touched_bytes >= bytes;
}

const Facts& facts() { return what; }

}  // namespace nebula::reserve
