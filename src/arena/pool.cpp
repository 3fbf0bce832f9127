#include "arena/pool.hpp"

#include <new>

#include "base/bits.hpp"

namespace nebula::arena {
namespace {

constexpr const char* kPlace = "this pool";
constexpr std::size_t kMostBytes = kGiB;  // of an object, and of its alignment
constexpr std::size_t kObjectsInLargeBlock = 8;
constexpr std::size_t kInUsualBlock = 4 * kKiB;

// A usual block holds fifteen of the largest that it is for.
std::size_t block_bytes_for(std::size_t size, std::size_t alignment) {
  if (size <= kInUsualBlock && alignment <= kInUsualBlock) return kBlockBytes;
  return round_up(kObjectsInLargeBlock * size + alignment + kPageSize, kPageSize);
}

}  // namespace

Pool* Pool::create(std::size_t object_bytes, std::size_t alignment, std::size_t limit_bytes) {
  if (object_bytes > kMostBytes || alignment > kMostBytes) return nullptr;
  if (alignment < kAlignment) alignment = kAlignment;
  const std::size_t size = round_up(object_bytes == 0 ? kAlignment : object_bytes, alignment);
  Holdings holdings = {0, limit_bytes};
  Block* const first = holdings.take(block_bytes_for(size, alignment));
  if (first == nullptr) return nullptr;
  return new (first + 1) Pool(size, alignment, holdings, first);
}

Pool::Pool(std::size_t size, std::size_t alignment, Holdings holdings, Block* first)
    : holdings_(holdings), size_(size), alignment_(alignment), block_bytes_(first->bytes), first_(first) {
  adopt(first);
}

void Pool::destroy() {
  end();
  give_back_all(holdings_, blocks_.first);
}

std::size_t Pool::bytes_before(const Block* block) const {
  return round_up(sizeof(Block) + (block == first_ ? sizeof(Pool) : 0), kCacheLine);
}

Slots* Pool::slots_of(Block* block) const {
  return reinterpret_cast<Slots*>(reinterpret_cast<char*>(block) + bytes_before(block));
}

void Pool::adopt(Block* block) {
  block->owner = this;
  blocks_.add(block);
  const std::size_t before = bytes_before(block);
  with_room_.add(begin_slots(reinterpret_cast<char*>(block) + before, block->bytes - before, size_, alignment_));
}

void* Pool::allocate() {
  if (with_room_.first == nullptr) [[unlikely]] {
    Block* const block = holdings_.take(block_bytes_);
    if (block == nullptr) return nullptr;
    adopt(block);
  }
  Slots* const slots = with_room_.first;
  if (empty_ != nullptr && slots == slots_of(empty_)) empty_ = nullptr;
  void* const object = slots->take();
  if (slots->is_full()) with_room_.remove(slots);
  if (++objects_ > objects_peak_) objects_peak_ = objects_;
  return object;
}

void Pool::free(void* pointer, const char* call) {
  Block* const block = block_around(pointer);
  if (block == nullptr || block->owner != this) return refuse(kPlace, pointer, size_, {Slots::Verdict::kNoObject, 0}, call);
  Slots* const slots = slots_of(block);
  const bool was_full = slots->is_full();
  if (const Slots::Given given = slots->give(pointer); given.verdict != Slots::Verdict::kDone) return refuse(kPlace, pointer, size_, given, call);
  --objects_;
  if (was_full) with_room_.add(slots);
  if (slots->is_empty() && block != first_) release(block);
}

// One empty block is kept.
void Pool::release(Block* block) {
  if (empty_ == nullptr || empty_ == block) {
    empty_ = block;
    return;
  }
  with_room_.remove(slots_of(block));
  blocks_.remove(block);
  holdings_.give_back(block);
}

Usage Pool::usage() const { return {objects_, objects_ * size_, objects_peak_ * size_, holdings_.held}; }

}  // namespace nebula::arena
