#include "arena/arena.hpp"

#include <new>

#include "base/bits.hpp"

namespace nebula::arena {

Arena* Arena::create(std::size_t block_bytes, std::size_t limit_bytes) {
  Holdings holdings = {0, limit_bytes};
  Block* const first = holdings.take(block_bytes);
  if (first == nullptr) return nullptr;
  return new (first + 1) Arena(first->bytes, holdings, first);
}

Arena::Arena(std::size_t block_bytes, Holdings holdings, Block* first)
    : identity_(next_identity()), holdings_(holdings), block_bytes_(block_bytes), last_block_(first) {
  first->owner = this;
  move_to(first, round_up(reinterpret_cast<Address>(this + 1), kAlignment));
  (void)checkpoint();
  base_ = last_record_;
}

void Arena::destroy() {
  end();
  (void)drop_spare();
  give_back_all(holdings_, last_block_);
}

void Arena::move_to(Block* block, Address mark) {
  mark_ = mark;
  end_ = reinterpret_cast<Address>(block) + block->bytes - sizeof(Record);
}

// False: there is none.
bool Arena::drop_spare() {
  if (spare_ == nullptr) return false;
  holdings_.give_back(spare_);
  spare_ = nullptr;
  return true;
}

// The last of the arena's blocks from now on.
Block* Arena::take_block(std::size_t bytes) {
  Block* block = nullptr;
  if (spare_ != nullptr && bytes <= spare_->bytes) {
    block = spare_;
    spare_ = nullptr;
  } else {
    block = holdings_.take(bytes);
    if (block == nullptr && drop_spare()) block = holdings_.take(bytes);
    if (block == nullptr) return nullptr;
  }
  block->owner = this;
  block->next = last_block_;  // the one before
  last_block_ = block;
  return block;
}

void* Arena::hand_out(Address start, std::size_t size) {
  ++objects_;
  used_ += size;
  if (used_ > used_peak_) used_peak_ = used_;
  return reinterpret_cast<void*>(start);
}

void* Arena::allocate_apart(std::size_t size, std::size_t alignment) {
  Block* const block = take_block(sizeof(Block) + size + (alignment > kAlignment ? alignment : 0) + sizeof(Record));
  if (block == nullptr) return nullptr;
  const Address start = round_up(reinterpret_cast<Address>(block + 1), alignment);
  if (mark_ > end_) move_to(block, start + size);  // where the mark was, there is no room for a record
  return hand_out(start, size);
}

void* Arena::allocate(std::size_t size, std::size_t alignment) {
  if (alignment < kAlignment) alignment = kAlignment;
  if (size > kRequestMost || alignment > kRequestMost) return nullptr;
  size = size == 0 ? kAlignment : round_up(size, kAlignment);
  Address start = round_up(mark_, alignment);
  if (start > end_ || size > end_ - start) [[unlikely]] {
    const std::size_t in_usual_block = block_bytes_ - sizeof(Block) - sizeof(Record);
    if (size > in_usual_block || alignment > in_usual_block - size) return allocate_apart(size, alignment);
    Block* const block = take_block(block_bytes_);
    if (block == nullptr) return nullptr;
    move_to(block, reinterpret_cast<Address>(block + 1));
    start = round_up(mark_, alignment);
  }
  mark_ = start + size;
  return hand_out(start, size);
}

bool Arena::reserve(std::size_t bytes) {
  if (bytes > kRequestMost) return false;
  bytes = round_up(bytes, kAlignment);
  if (mark_ <= end_ && bytes <= end_ - mark_) return true;
  const std::size_t needed = sizeof(Block) + bytes + sizeof(Record);
  Block* const block = take_block(needed < block_bytes_ ? block_bytes_ : needed);
  if (block == nullptr) return false;
  move_to(block, reinterpret_cast<Address>(block + 1));
  return true;
}

Checkpoint Arena::checkpoint() {
  const bool is_anew = last_record_ == nullptr || mark_ != reinterpret_cast<Address>(last_record_ + 1) ||
                       last_block_ != last_record_->last_block;
  if (is_anew) {
    last_record_ = new (reinterpret_cast<void*>(mark_)) Record{last_record_, ++last_number_, last_block_, end_, objects_, used_};
    mark_ += sizeof(Record);  // behind end_ at most by the room that was left for it
  }
  return {identity_, last_record_->number};
}

// One usual block is kept for what comes next.
void Arena::drop_last_block() {
  Block* const block = last_block_;
  last_block_ = block->next;
  if (spare_ == nullptr && block->bytes == block_bytes_) spare_ = block;
  else holdings_.give_back(block);
}

void Arena::return_to(Record* record) {
  while (last_block_ != record->last_block) drop_last_block();
  last_record_ = record;
  mark_ = reinterpret_cast<Address>(record + 1);
  end_ = record->end;
  objects_ = record->objects;
  used_ = record->used;
}

Arena::Restored Arena::restore(Checkpoint to) {
  if (to.arena != identity_ || to.number == 0) return Restored::kForeign;
  if (to.number > last_number_) return Restored::kFuture;
  Record* const record = find_numbered(last_record_, to.number);
  if (record == nullptr) return Restored::kStale;
  return_to(record);
  return Restored::kDone;
}

void Arena::reset() { return_to(base_); }

Usage Arena::usage() const { return {objects_, used_, used_peak_, holdings_.held}; }

}  // namespace nebula::arena
