// A stack of a fixed size: objects handed out by moving a mark within one block, and freed frame by frame, the last one first. After
// it is made it asks nobody for memory: it is full or not.
//
//   block   │ header │ stack │ object │ frame 1 │ object │ object │ frame 2 │ object │ free … │
//
// A frame is a record with a number that is never given again; the mark that it frees up to is its own address. One thread at a time.
#pragma once

#include "arena/block.hpp"

namespace nebula::arena {

struct Frame {
  std::uint64_t stack = 0;
  std::uint64_t number = 0;
};

class Stack : public Stamped<0xd63a'41f8'0be9'57c2> {
 public:
  static constexpr const char* kKind = "stack";

  // Null: budget or system refuse it.
  [[nodiscard]] static Stack* create(std::size_t capacity_bytes);
  void destroy();

  // alignment: a power of two. Null: full.
  [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment);

  // False: full.
  [[nodiscard]] bool begin_frame(Frame& frame);
  enum class Ended { kDone, kForeign, kStale, kFuture, kNotLast };
  // Unless done nothing has changed.
  Ended end_frame(Frame frame);

  [[nodiscard]] Usage usage() const;

 private:
  struct alignas(kAlignment) Record {
    Record* previous;
    std::uint64_t number;
    std::uint64_t objects;
  };

  Stack(Block* block, Address end);

  std::uint64_t identity_;
  Block* block_;
  Address begin_;
  Address mark_;
  Address end_;
  Record* last_frame_ = nullptr;
  std::uint64_t last_number_ = 0;
  std::uint64_t objects_ = 0;
  std::uint64_t used_peak_ = 0;
};

}  // namespace nebula::arena
