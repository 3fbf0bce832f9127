// An arena: objects handed out one behind the other by moving a mark, and freed together: all of them, or those since a
// checkpoint.
//
//   block   │ header │ arena (first block) │ base record │ object │ object │ record │ object │ free … room for a record │
//
// A checkpoint is a record in the arena itself, with a number that is never given again, chained to the one before. Restoring
// looks for the number along the chain: what lies behind an earlier checkpoint that was restored is no longer in it, so a
// number that is missing is stale, one above the last is of a future that this arena does not know. Nothing else has to be
// compared, and no two histories are confused. Behind every object room is left for a record: so a checkpoint never fails. Where
// nothing has happened since the last one, it is that one again: a loop that takes and restores needs no memory.
//
// Objects that fit no usual block have one of their own, and the mark stays where it is. One thread at a time.
#pragma once

#include "arena/block.hpp"

namespace nebula::arena {

struct Checkpoint {
  std::uint64_t arena = 0;
  std::uint64_t number = 0;
};

class Arena : public Stamped<0xa4e7'0d2f'6b81'93c5> {
 public:
  static constexpr const char* kKind = "arena";

  // Null: limit, budget or system refuse the first block.
  [[nodiscard]] static Arena* create(std::size_t block_bytes, std::size_t limit_bytes);
  void destroy();

  // alignment: a power of two. Null: refused.
  [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment);
  // False when it is refused. Then nothing has changed but that a spare block may have gone back; else the next `bytes` bytes of objects (each rounded up to kAlignment) are
  // there.
  [[nodiscard]] bool reserve(std::size_t bytes);

  [[nodiscard]] Checkpoint checkpoint();
  enum class Restored { kDone, kForeign, kStale, kFuture };
  // Unless done nothing has changed.
  Restored restore(Checkpoint to);
  void reset();

  [[nodiscard]] Usage usage() const;

 private:
  struct alignas(kAlignment) Record {
    Record* previous;
    std::uint64_t number;
    Block* last_block;
    Address end;  // of the block that the mark is in
    std::uint64_t objects;
    std::uint64_t used;
  };

  Arena(std::size_t block_bytes, Holdings holdings, Block* first);
  [[nodiscard]] Block* take_block(std::size_t bytes);
  void move_to(Block* block, Address mark);
  [[nodiscard]] void* allocate_apart(std::size_t size, std::size_t alignment);
  void* hand_out(Address start, std::size_t size);
  [[nodiscard]] bool drop_spare();
  void drop_last_block();
  void return_to(Record* record);

  std::uint64_t identity_;
  Holdings holdings_;
  std::size_t block_bytes_;
  Address mark_ = 0;
  Address end_ = 0;  // behind it is room for a record
  Block* last_block_;
  Block* spare_ = nullptr;  // a usual block that was given up last
  Record* base_ = nullptr;
  Record* last_record_ = nullptr;
  std::uint64_t last_number_ = 0;
  std::uint64_t objects_ = 0;
  std::uint64_t used_ = 0;
  std::uint64_t used_peak_ = 0;
};

}  // namespace nebula::arena
