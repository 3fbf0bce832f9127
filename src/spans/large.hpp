// Large objects: above 32 KiB, or aligned beyond a page. One span each; committed to the page, not to the unit, so the
// tail of the last unit stays clean (or dirty, if it was so before). Their facts lie in the unit record of the first
// unit.
//
// An object belongs to its caller: no lock but the span heap's, inside. Freeing twice, or by an interior pointer, is
// told by the class map at once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.hpp"
#include "profiling/sites.hpp"
#include "spans/span_heap.hpp"

namespace nebula::large {

enum class Contents { kAny, kZero };

// The address, aligned as asked (a power of two, at least a page is given), or 0 when system or budget refuses.
// size above 0, at most PTRDIFF_MAX. Large means at least one page. part: of the spans, the caller's.
[[nodiscard]] Address allocate(SpanHeap& spans, std::size_t size, std::size_t alignment, Contents contents, unsigned part = 0);

// True when `pointer` was an object's start and is now free. Else nothing has changed.
[[nodiscard]] bool deallocate(SpanHeap& spans, void* pointer);

// The object at this unit is followed by a profile from now on; it ends with the object, or when that is resized.
void set_sample(UnitIndex head, const profiling::Sample& sample);
[[nodiscard]] const profiling::Sample& sample_at(UnitIndex head);

// Usable bytes of the object at a unit whose use is kLargeHead.
[[nodiscard]] std::size_t size_of(UnitIndex head);
// The unit where the object that holds this unit begins; for kLargeInside units.
[[nodiscard]] UnitIndex head_of(UnitIndex inside);

// Grows or shrinks without moving. False: nothing changed.
[[nodiscard]] bool resize_in_place(SpanHeap& spans, UnitIndex head, std::size_t size);
// A new object of `size` bytes (more than before) with the pages of the old one moved over, which is free afterwards;
// 0 when that cannot be had: nothing changed.
[[nodiscard]] Address grow_by_moving_pages(SpanHeap& spans, UnitIndex head, std::size_t size, unsigned part = 0);

// Gives back the committed pages behind the ends of objects, in their last units: bytes. Of those for which spans_of(context, head)
// says which heap they are of; null: left alone. The owners may use, resize and free their objects meanwhile.
using SpansOf = SpanHeap* (*)(const void* context, UnitIndex head);
std::size_t purge_tails(SpansOf spans_of, const void* context);

struct Counts {
  std::uint64_t allocations;
  std::uint64_t frees;
  std::uint64_t live_bytes;
  std::uint64_t grown_in_place;
};
[[nodiscard]] Counts counts();

}  // namespace nebula::large
