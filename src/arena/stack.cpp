#include "arena/stack.hpp"

#include <new>

#include "base/bits.hpp"

namespace nebula::arena {

Stack* Stack::create(std::size_t capacity_bytes) {
  if (capacity_bytes > PTRDIFF_MAX) return nullptr;
  const std::size_t capacity = round_up(capacity_bytes, kAlignment);
  Holdings holdings = {0, ~std::size_t{0}};
  Block* const block = holdings.take(sizeof(Block) + sizeof(Stack) + kAlignment + capacity);
  if (block == nullptr) return nullptr;
  auto* const place = reinterpret_cast<Stack*>(block + 1);
  return new (place) Stack(block, round_up(reinterpret_cast<Address>(place + 1), kAlignment) + capacity);
}

Stack::Stack(Block* block, Address end)
    : identity_(next_identity()), block_(block), begin_(round_up(reinterpret_cast<Address>(this + 1), kAlignment)),
      mark_(begin_), end_(end) {
  block->owner = this;
}

void Stack::destroy() {
  end();
  Holdings holdings = {block_->bytes, 0};
  holdings.give_back(block_);
}

void* Stack::allocate(std::size_t size, std::size_t alignment) {
  if (size > end_ - begin_ || alignment > PTRDIFF_MAX) return nullptr;
  const Address start = round_up(mark_, alignment < kAlignment ? kAlignment : alignment);
  const std::size_t rounded = size == 0 ? kAlignment : round_up(size, kAlignment);
  if (start < mark_ || start > end_ || rounded > end_ - start) return nullptr;
  mark_ = start + rounded;
  ++objects_;
  if (mark_ - begin_ > used_peak_) used_peak_ = mark_ - begin_;
  return reinterpret_cast<void*>(start);
}

bool Stack::begin_frame(Frame& frame) {
  if (end_ - mark_ < sizeof(Record)) return false;
  last_frame_ = new (reinterpret_cast<void*>(mark_)) Record{last_frame_, ++last_number_, objects_};
  mark_ += sizeof(Record);
  if (mark_ - begin_ > used_peak_) used_peak_ = mark_ - begin_;
  frame = {identity_, last_number_};
  return true;
}

Stack::Ended Stack::end_frame(Frame frame) {
  if (frame.stack != identity_ || frame.number == 0) return Ended::kForeign;
  if (frame.number > last_number_) return Ended::kFuture;
  const Record* const record = find_numbered(last_frame_, frame.number);
  if (record == nullptr) return Ended::kStale;
  if (record != last_frame_) return Ended::kNotLast;
  mark_ = reinterpret_cast<Address>(record);
  objects_ = record->objects;
  last_frame_ = record->previous;
  return Ended::kDone;
}

Usage Stack::usage() const { return {objects_, mark_ - begin_, used_peak_, block_->bytes}; }

}  // namespace nebula::arena
