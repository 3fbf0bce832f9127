// A heap of the program's own: objects of any size, freed one by one or all together.
//
//   block of runs (64 KiB)   │ header, run of each page, heap (first block) │ run: pages of equal slots │ run │ … │ free pages │
//   block of one object      │ header │ object │
//
// Up to kSlotMost objects are slots of the allocator's size classes, in runs of a few pages, so that many classes share a block;
// above, and where no class has the alignment, each has a block of its own. An empty run's pages serve any class again; empty blocks
// go back but for the first and one. One thread at a time.
#pragma once

#include "arena/block.hpp"
#include "arena/slots.hpp"
#include "size_class/size_class.hpp"

namespace nebula::arena {

class ObjectHeap : public Stamped<0x8e52'c71f'90d4'3ab6> {
 public:
  static constexpr const char* kKind = "heap";

  // Null: limit, budget or system refuse the first block.
  [[nodiscard]] static ObjectHeap* create(std::size_t limit_bytes);
  void destroy();

  // alignment: a power of two. Null: refused.
  [[nodiscard]] void* allocate(std::size_t size, std::size_t alignment);
  // All of these: a pointer that is no object of the heap is told, and nothing has changed.
  void free(void* pointer, const char* call);
  // Null: the object is as it was. pointer not null, size not 0.
  [[nodiscard]] void* reallocate(void* pointer, std::size_t size, const char* call);
  [[nodiscard]] std::size_t usable_size(const void* pointer, const char* call) const;

  [[nodiscard]] Usage usage() const;

  static constexpr std::size_t kSlotMost = 8 * kKiB;

 private:
  static constexpr unsigned kClasses = 89;  // up to kSlotMost
  static constexpr std::uint16_t kFreePages = 0xfffe;  // all but the first, which is the header's
  // What a block's first page begins with.
  struct Head : Block {
    Address object;                 // the only one; 0 in a block of runs
    std::uint16_t free_pages;       // a bit for each
    std::uint8_t run_class[16];     // of the run that begins at this page
    std::uint8_t run_page[16];      // where the run that a page is of begins
  };
  struct Place {
    Head* head;   // null: no block of this heap
    Slots* run;   // null: none there
    unsigned page;
  };

  ObjectHeap(Holdings holdings, Block* first);
  Head* adopt(Block* block);
  [[nodiscard]] Head* add_block(std::size_t bytes);
  void release_block(Head* head);
  [[nodiscard]] Slots* add_run(unsigned c);
  [[nodiscard]] Slots* add_run_in(Head* head, unsigned c);
  void release_run(const Place& place);
  [[nodiscard]] void* allocate_apart(std::size_t size, std::size_t alignment);
  [[nodiscard]] Place place_of(const void* pointer) const;
  [[nodiscard]] Slots::Given look(const Place& place, const void* pointer) const;
  [[nodiscard]] std::size_t size_at(const Place& place) const;
  void refuse(const Place& place, const void* pointer, Slots::Given given, const char* call) const;
  void count_in(std::size_t bytes);
  void count_out(std::size_t bytes);

  Holdings holdings_;
  List<Block> blocks_;
  Head* first_;
  Head* empty_ = nullptr;  // kept for what comes next
  List<Slots> with_room_[kClasses];
  std::uint64_t objects_ = 0;
  std::uint64_t used_ = 0;
  std::uint64_t used_peak_ = 0;
};

}  // namespace nebula::arena
