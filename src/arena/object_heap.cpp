#include "arena/object_heap.hpp"

#include <bit>
#include <cstring>
#include <new>

#include "base/bits.hpp"

namespace nebula::arena {
namespace {

constexpr const char* kPlace = "this heap";
constexpr unsigned kNoPage = 0;  // the header's
constexpr unsigned kPagesPerBlock = kBlockBytes / kPageSize;

// So many that few bytes are left over.
constexpr unsigned pages_per_run(std::size_t size) { return size <= 256 ? 1 : size <= kFineMax ? 2 : size <= 4 * kKiB ? 4 : 7; }

// What every slot of a class can begin at a multiple of.
constexpr std::size_t natural_alignment(std::size_t size) {
  const std::size_t alignment = size & (~size + 1);
  return alignment < kPageSize ? alignment : kPageSize;
}

char* page_of(Block* block, unsigned page) { return reinterpret_cast<char*>(block) + page * kPageSize; }

}  // namespace

static_assert(kBlockBytes == kUnitSize && kPagesPerBlock == 16);

ObjectHeap* ObjectHeap::create(std::size_t limit_bytes) {
  static_assert(class_index_for(kSlotMost) + 1 == kClasses);
  static_assert(sizeof(Head) + sizeof(ObjectHeap) <= kPageSize);
  Holdings holdings = {0, limit_bytes};
  Block* const first = holdings.take(kBlockBytes);
  if (first == nullptr) return nullptr;
  return new (reinterpret_cast<char*>(first) + sizeof(Head)) ObjectHeap(holdings, first);
}

ObjectHeap::ObjectHeap(Holdings holdings, Block* first) : holdings_(holdings), first_(adopt(first)) {}

void ObjectHeap::destroy() {
  end();
  give_back_all(holdings_, blocks_.first);
}

// A block of runs, of which there are none yet.
ObjectHeap::Head* ObjectHeap::adopt(Block* block) {
  auto* const head = static_cast<Head*>(block);
  head->owner = this;
  blocks_.add(head);
  head->object = 0;
  head->free_pages = kFreePages;
  std::memset(head->run_page, kNoPage, sizeof head->run_page);
  return head;
}

ObjectHeap::Head* ObjectHeap::add_block(std::size_t bytes) {
  Block* const block = holdings_.take(bytes);
  return block == nullptr ? nullptr : adopt(block);
}

void ObjectHeap::release_block(Head* head) {
  blocks_.remove(head);
  holdings_.give_back(head);
}

Slots* ObjectHeap::add_run_in(Head* head, unsigned c) {
  const std::size_t size = kSizeClasses.slot_size[c];
  const unsigned pages = pages_per_run(size);
  const unsigned page = best_run(head->free_pages, pages, 1);
  if (page == kNoRun) return nullptr;
  if (head == empty_) empty_ = nullptr;
  head->free_pages = static_cast<std::uint16_t>(head->free_pages & ~mask_of(page, pages));
  head->run_class[page] = static_cast<std::uint8_t>(c);
  std::memset(head->run_page + page, static_cast<int>(page), pages);
  Slots* const slots = begin_slots(page_of(head, page), pages * kPageSize, size, natural_alignment(size));
  with_room_[c].add(slots);
  return slots;
}

Slots* ObjectHeap::add_run(unsigned c) {
  for (Block* block = blocks_.first; block != nullptr; block = block->next) {
    auto* const head = static_cast<Head*>(block);
    if (head->object != 0) continue;
    if (Slots* const slots = add_run_in(head, c)) return slots;
  }
  Head* const head = add_block(kBlockBytes);
  return head == nullptr ? nullptr : add_run_in(head, c);
}

void ObjectHeap::release_run(const Place& place) {
  Head* const head = place.head;
  const unsigned pages = pages_per_run(place.run->size);
  with_room_[head->run_class[place.page]].remove(place.run);
  std::memset(head->run_page + place.page, kNoPage, pages);
  head->free_pages = static_cast<std::uint16_t>(head->free_pages | mask_of(place.page, pages));
  if (head->free_pages != kFreePages || head == first_) return;
  if (empty_ == nullptr) empty_ = head;
  else release_block(head);
}

void ObjectHeap::count_in(std::size_t bytes) {
  ++objects_;
  used_ += bytes;
  if (used_ > used_peak_) used_peak_ = used_;
}

void ObjectHeap::count_out(std::size_t bytes) {
  --objects_;
  used_ -= bytes;
}

void* ObjectHeap::allocate_apart(std::size_t size, std::size_t alignment) {
  if (alignment < kCacheLine) alignment = kCacheLine;
  Head* const head = add_block(sizeof(Head) + size + alignment);
  if (head == nullptr) return nullptr;
  head->object = round_up(reinterpret_cast<Address>(head + 1), alignment);
  count_in(size_at({head, nullptr, kNoPage}));
  return reinterpret_cast<void*>(head->object);
}

void* ObjectHeap::allocate(std::size_t size, std::size_t alignment) {
  if (size > kRequestMost || alignment > kRequestMost) return nullptr;
  const unsigned c = size > kSlotMost ? 0 : class_index_for_aligned(size, alignment);
  if (c == 0 || c >= kClasses) return allocate_apart(size, alignment);
  Slots* slots = with_room_[c].first;
  if (slots == nullptr) [[unlikely]] slots = add_run(c);
  if (slots == nullptr) return nullptr;
  void* const object = slots->take();
  if (slots->is_full()) with_room_[c].remove(slots);
  count_in(slots->size);
  return object;
}

ObjectHeap::Place ObjectHeap::place_of(const void* pointer) const {
  Block* const block = block_around(pointer);
  if (block == nullptr || block->owner != this) return {nullptr, nullptr, kNoPage};
  auto* const head = static_cast<Head*>(block);
  if (head->object != 0) return {head, nullptr, kNoPage};
  const std::size_t page = (reinterpret_cast<Address>(pointer) - reinterpret_cast<Address>(block)) / kPageSize;
  const unsigned first = head->run_page[page];
  return {head, first == kNoPage ? nullptr : reinterpret_cast<Slots*>(page_of(block, first)), first};
}

Slots::Given ObjectHeap::look(const Place& place, const void* pointer) const {
  if (place.run != nullptr) return place.run->look(pointer);
  if (place.head == nullptr || place.head->object == 0) return {Slots::Verdict::kNoObject, 0};
  const auto address = reinterpret_cast<Address>(pointer);
  if (address == place.head->object) return {Slots::Verdict::kDone, 0};
  return address < place.head->object ? Slots::Given{Slots::Verdict::kNoObject, 0}
                                      : Slots::Given{Slots::Verdict::kInterior, address - place.head->object};
}

// Of the object, whichever it is, that lies there.
std::size_t ObjectHeap::size_at(const Place& place) const {
  if (place.run != nullptr) return place.run->size;
  return reinterpret_cast<Address>(place.head) + place.head->bytes - place.head->object;
}

void ObjectHeap::refuse(const Place& place, const void* pointer, Slots::Given given, const char* call) const {
  arena::refuse(kPlace, pointer, place.head == nullptr ? 0 : size_at(place), given, call);
}

void ObjectHeap::free(void* pointer, const char* call) {
  const Place place = place_of(pointer);
  if (const Slots::Given given = look(place, pointer); given.verdict != Slots::Verdict::kDone) return refuse(place, pointer, given, call);
  count_out(size_at(place));
  if (place.run == nullptr) return release_block(place.head);
  const bool was_full = place.run->is_full();
  place.run->give(pointer);
  if (was_full) with_room_[place.head->run_class[place.page]].add(place.run);
  if (place.run->is_empty()) release_run(place);
}

void* ObjectHeap::reallocate(void* pointer, std::size_t size, const char* call) {
  const std::size_t old_size = usable_size(pointer, call);
  if (old_size == 0) return nullptr;
  // As realloc does: in place down to half, so that what swings is not copied.
  if (size <= old_size && size > old_size / 2) return pointer;
  void* const target = allocate(size, kAlignment);
  if (target == nullptr) return size <= old_size ? pointer : nullptr;
  std::memcpy(target, pointer, old_size < size ? old_size : size);
  free(pointer, call);
  return target;
}

std::size_t ObjectHeap::usable_size(const void* pointer, const char* call) const {
  const Place place = place_of(pointer);
  const Slots::Given given = look(place, pointer);
  if (given.verdict == Slots::Verdict::kDone) return size_at(place);
  refuse(place, pointer, given, call);
  return 0;
}

Usage ObjectHeap::usage() const { return {objects_, used_, used_peak_, holdings_.held}; }

}  // namespace nebula::arena
