// Small objects that a profile follows. Each has a span of its own, one unit, and a use in the class map that no pool has, so
// that its free takes the slow path from whichever thread it comes, and no other free pays for it. Committed to the page;
// its slot size is that of its class, so the program sees no difference. What is known of the sample lies in the unit record.
//
// An object belongs to its caller: no lock but the span heap's, inside.
#pragma once

#include <cstddef>
#include <cstdint>

#include "profiling/sites.hpp"
#include "size_class/size_class.hpp"
#include "spans/span_heap.hpp"

namespace nebula::sampled {

// Null when system or budget refuses. The contents are what the last owner left.
[[nodiscard]] void* allocate(SpanHeap& spans, SizeClass c);
// Once, before the object is the program's.
void begin(void* object, const profiling::Sample& sample);

// True when `pointer` was such an object's start and is now free. Else nothing has changed.
[[nodiscard]] bool deallocate(SpanHeap& spans, void* pointer);

// Of the object in a unit whose use is kSampled.
[[nodiscard]] const profiling::Sample& sample_at(UnitIndex unit);
[[nodiscard]] SizeClass class_at(UnitIndex unit);

struct Counts {
  std::uint64_t allocations;
  std::uint64_t frees;
};
[[nodiscard]] Counts counts(SizeClass c);

}  // namespace nebula::sampled
