// A block of the bump route: a run of units out of which objects of mixed sizes are handed out by moving a mark, in steps of
// 16 bytes, without headers. What is known of them lies apart from them, in two bitmaps of a bit for each granule:
//
//   starts  a bit where an object, or a gap, begins, and one at the mark: so the next bit behind an object is its end
//   dead    a bit at the start of what is free
//
//   starts  1 . . 1 1 . . . . 1 . . . . .        objects of 3, 1, 5 granules, the mark at the tenth;
//   dead    . . . 1 . . . . . . . . . . .        the second is free
//
// An object is a start that is not dead and has another start behind it. Only the thread that has the block as its current one
// writes starts; dead is written by whoever frees, with one atomic operation, whose old value tells a double free.
//
// `starts` lies in an area of its own (Area::kBlockRecords), contiguous over the units of a block; `dead` and the rest in the
// unit records, behind a slab's home. `live` counts the objects that are not free; while a thread has the block, the thread
// itself knows how many it handed out and freed, and the word has kOwned more than what others freed.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/bits.hpp"
#include "pages/region.hpp"
#include "size_class/size_class.hpp"

namespace nebula::bump {

struct Mine;

inline constexpr unsigned kGranulesPerUnit = kUnitSize / kGranule;
inline constexpr unsigned kGranulesPerPage = kPageSize / kGranule;
inline constexpr unsigned kWordsPerUnit = kGranulesPerUnit / 64;
inline constexpr unsigned kUnitsMost = 16;  // of a block
inline constexpr std::uint64_t kOwned = std::uint64_t{1} << 40;

using Word = std::atomic<std::uint64_t>;

struct UnitRecord {
  Word dead[kWordsPerUnit];
  UnitIndex head;  // the first unit of the block
  // Of the first unit alone:
  std::uint32_t units;
  std::atomic<std::uint64_t> live;
  std::atomic<const Mine*> owner;         // whose current block it is; null: nobody's
  std::atomic<std::uint64_t> counted;     // bytes of it in bytes_in_use
  std::atomic<bool> is_held;              // by a thread that looks for dead pages while nobody has it
  std::uint64_t live_at_look;             // by whoever holds it
  std::uint64_t looked_at;                // coarse milliseconds, when that was seen first; 0: purged since
};
static_assert(kBehindSlabHome + sizeof(UnitRecord) <= kUnitRecordBytes);
static_assert(kWordsPerUnit * sizeof(Word) == kBlockRecordBytes);

[[nodiscard]] inline UnitRecord& record_at(UnitIndex unit) {
  return *reinterpret_cast<UnitRecord*>(record_map.unit_records + std::size_t{unit} * kUnitRecordBytes + kBehindSlabHome);
}
[[nodiscard]] inline Word* starts_of(UnitIndex unit) {
  return reinterpret_cast<Word*>(record_map.block_records + std::size_t{unit} * kBlockRecordBytes);
}

// A granule of a block is named by its number from the block's start.
class Block {
 public:
  // Of a unit whose use is kBump. Without the locks, its record may be another owner's by now: what it says is held within
  // bounds.
  explicit Block(UnitIndex unit) : head_(record_at(unit).head), units_(0) {
    if (head_ > unit || unit - head_ >= kUnitsMost) head_ = unit;
    units_ = record_at(head_).units;
    if (units_ == 0 || units_ > kUnitsMost) units_ = 1;
  }

  [[nodiscard]] UnitIndex head() const { return head_; }
  [[nodiscard]] Units units() const { return {units_}; }
  [[nodiscard]] UnitRecord& record() const { return record_at(head_); }
  [[nodiscard]] std::uint32_t granules() const { return units_ * kGranulesPerUnit; }
  [[nodiscard]] std::uint32_t granule_of(const void* pointer) const {
    return static_cast<std::uint32_t>((reinterpret_cast<Address>(pointer) - address_of_unit(head_)) / kGranule);
  }

  // relaxed, as all reads of starts: whoever has an object got it from its owner, after its bits were set.
  [[nodiscard]] bool is_start(std::uint32_t granule) const {
    return (starts_of(head_)[granule / 64].load(std::memory_order_relaxed) >> (granule % 64) & 1) != 0;
  }
  void set_start(std::uint32_t granule) const { change_start(granule, std::uint64_t{1} << (granule % 64), 0); }
  void clear_start(std::uint32_t granule) const { change_start(granule, 0, std::uint64_t{1} << (granule % 64)); }

  // acquire: pairs with the release in set_dead, so that what the freeing thread did with the object came before.
  [[nodiscard]] bool is_dead(std::uint32_t granule) const {
    return (dead_word(granule).load(std::memory_order_acquire) >> (granule % 64) & 1) != 0;
  }
  // Whether it was dead already.
  [[nodiscard]] bool set_dead(std::uint32_t granule) const {
    const std::uint64_t bit = std::uint64_t{1} << (granule % 64);
    return (dead_word(granule).fetch_or(bit, std::memory_order_release) & bit) != 0;
  }
  void clear_dead(std::uint32_t granule) const {
    // relaxed: by the owner, of what only it may hand out again.
    dead_word(granule).fetch_and(~(std::uint64_t{1} << (granule % 64)), std::memory_order_relaxed);
  }

  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  // The first start behind a granule, at most as far as an object reaches; kNone when there is none.
  [[nodiscard]] std::uint32_t start_behind(std::uint32_t granule) const {
    constexpr unsigned kWordsLooked = kSmallMax / kGranule / 64 + 2;
    const Word* const words = starts_of(head_);
    const std::uint32_t first = (granule + 1) / 64;
    const std::uint32_t last = granules() / 64 < first + kWordsLooked ? granules() / 64 : first + kWordsLooked;
    std::uint64_t mask = ~std::uint64_t{0} << ((granule + 1) % 64);
    for (std::uint32_t i = first; i < last; ++i, mask = ~std::uint64_t{0})
      if (const std::uint64_t bits = words[i].load(std::memory_order_relaxed) & mask; bits != 0)
        return i * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
    return kNone;
  }
  // The last start before a granule; kNone for the first.
  [[nodiscard]] std::uint32_t start_before(std::uint32_t granule) const {
    if (granule == 0) return kNone;
    const Word* const words = starts_of(head_);
    std::uint64_t mask = ~std::uint64_t{0} >> (63 - (granule - 1) % 64);
    for (std::uint32_t i = (granule - 1) / 64 + 1; i-- > 0; mask = ~std::uint64_t{0})
      if (const std::uint64_t bits = words[i].load(std::memory_order_relaxed) & mask; bits != 0)
        return i * 64 + 63 - static_cast<std::uint32_t>(std::countl_zero(bits));
    return kNone;
  }

  [[nodiscard]] pages::Range pages_between(std::uint32_t first_page, std::uint32_t end_page) const {
    return {first_page_of(head_) + first_page, {end_page > first_page ? end_page - first_page : 0u}};
  }

  // Calls visit(first granule, end) for each object.
  template <class Visitor>
  void for_each_object(Visitor visit) const {
    const Word* const words = starts_of(head_);
    std::uint32_t start = kNone;
    for (std::uint32_t i = 0; i < granules() / 64; ++i) {
      for (std::uint64_t bits = words[i].load(std::memory_order_relaxed); bits != 0; bits &= bits - 1) {
        const std::uint32_t here = i * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
        if (start != kNone && !is_dead(start)) visit(start, here);
        start = here;
      }
    }
  }

 private:
  [[nodiscard]] Word& dead_word(std::uint32_t granule) const {
    return record_at(head_ + granule / kGranulesPerUnit).dead[granule % kGranulesPerUnit / 64];
  }
  void change_start(std::uint32_t granule, std::uint64_t set, std::uint64_t clear) const {
    Word& word = starts_of(head_)[granule / 64];
    word.store((word.load(std::memory_order_relaxed) | set) & ~clear, std::memory_order_relaxed);
  }

  UnitIndex head_;
  std::uint32_t units_;
};

// What a block holds: the bytes of its live objects, and their number.
struct Contents {
  std::uint64_t live = 0;
  std::uint64_t live_bytes = 0;
};
[[nodiscard]] Contents contents_of(const Block& block);

// Of all blocks; with the locks, or roughly.
[[nodiscard]] Contents contents_of_all();

// Gives back committed pages in which nothing is alive, before page `end` of the block, in runs of at least `least` pages:
// bytes. The block is the caller's, or held.
std::size_t purge_dead_pages(const Block& block, std::uint32_t end, std::uint32_t least);

// What of it is in bytes_in_use from now on.
void count_in_use(const Block& block, std::uint64_t bytes);

// New, empty, with nobody's owner; kNoUnit when system or budget refuses, or there would be more than the limit.
[[nodiscard]] UnitIndex take_block(std::uint32_t units);
// Once its last object is free and nobody has it.
void give_back(UnitIndex head);

// Blocks that nobody has: their dead pages go back, of those that kept still for a second or of all. Bytes.
enum class Which { kIdle, kAll };
std::size_t purge_left_blocks(Which which);

// Above so many bytes of blocks no more are taken.
void set_limit(std::uint64_t bytes);
[[nodiscard]] std::uint64_t limit();

struct BlockCounts {
  std::uint64_t bytes = 0;   // of address that blocks take
  std::uint64_t blocks = 0;
  std::uint64_t taken = 0;   // ever
  std::uint64_t passed_on = 0;  // times that the limit said no
};
[[nodiscard]] BlockCounts block_counts();
[[nodiscard]] bool is_at_limit(std::uint32_t units);
void note_at_limit();

// In the child of a fork that waited for nobody.
void reset_in_child();

}  // namespace nebula::bump
