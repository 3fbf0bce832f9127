// A run of equal slots with one bit for each, in front of them: set where the slot is free. Freed memory holds no word of ours, and
// a bit that is set already is a double free, found at once.
//
//   memory of a run   │ Slots │ bits │ … │ slot 0 │ slot 1 │ …
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/units.hpp"

namespace nebula::arena {

struct Slots {
  Slots* previous;  // in a list of runs with free slots
  Slots* next;
  std::uint32_t size;
  std::uint32_t capacity;
  std::uint32_t free;
  std::uint32_t first_word;  // no free slot lies in the bits of an earlier one
  Address first;             // the first slot
  Address end;               // of the last

  [[nodiscard]] bool is_full() const { return free == 0; }
  [[nodiscard]] bool is_empty() const { return free == capacity; }

  // There is a free one.
  [[nodiscard]] void* take();
  enum class Verdict : std::uint8_t { kDone, kDoubleFree, kInterior, kNoObject };
  struct Given {
    Verdict verdict;
    std::size_t offset;  // of an interior pointer
  };
  // What the pointer is, and unless it is an object nothing has changed.
  Given give(const void* pointer);
  [[nodiscard]] Given look(const void* pointer) const;

 private:
  [[nodiscard]] std::uint64_t* bits() { return reinterpret_cast<std::uint64_t*>(this + 1); }
  [[nodiscard]] const std::uint64_t* bits() const { return reinterpret_cast<const std::uint64_t*>(this + 1); }
};

// A run in `bytes` bytes of memory from `start` on, all of it free; slots at multiples of `alignment`, a power of two that the
// size is a multiple of. Null when not one slot fits.
[[nodiscard]] Slots* begin_slots(void* start, std::size_t bytes, std::size_t size, std::size_t alignment);

// Tells what a pointer is that is no object: the verdict says what instead. size: of the objects there; place: "this pool".
void refuse(const char* place, const void* pointer, std::size_t size, Slots::Given given, const char* call);

}  // namespace nebula::arena
