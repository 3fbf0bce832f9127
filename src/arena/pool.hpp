// A pool of objects of one size: each block is one run of slots. Empty blocks go back but for one; all go with the pool. One thread
// at a time.
#pragma once

#include "arena/block.hpp"
#include "arena/slots.hpp"

namespace nebula::arena {

class Pool : public Stamped<0x3fd1'b86a'c05e'7294> {
 public:
  static constexpr const char* kKind = "pool";

  // alignment: a power of two. Null: too large, or refused.
  [[nodiscard]] static Pool* create(std::size_t object_bytes, std::size_t alignment, std::size_t limit_bytes);
  void destroy();

  [[nodiscard]] void* allocate();
  // A pointer that is no object of the pool is told, and nothing has changed.
  void free(void* pointer, const char* call);

  [[nodiscard]] Usage usage() const;

 private:
  Pool(std::size_t object_bytes, std::size_t alignment, Holdings holdings, Block* first);
  void adopt(Block* block);
  [[nodiscard]] std::size_t bytes_before(const Block* block) const;
  [[nodiscard]] Slots* slots_of(Block* block) const;
  void release(Block* block);

  Holdings holdings_;
  std::size_t size_;  // of a slot
  std::size_t alignment_;
  std::size_t block_bytes_;
  List<Block> blocks_;
  Block* first_;            // where the pool itself lies
  Block* empty_ = nullptr;  // kept for what comes next
  List<Slots> with_room_;
  std::uint64_t objects_ = 0;
  std::uint64_t objects_peak_ = 0;
};

}  // namespace nebula::arena
