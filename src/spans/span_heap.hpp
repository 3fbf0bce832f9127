// Runs of 64 KiB units, for slabs and large objects alike: one heap's, in parts.
//
// A span of up to one region comes from the part of who asks: two threads of two shards then share neither a lock nor the cache lines
// of what lies under it (processors 400 ns apart need 2 us for a pair of large objects with one lock, 1.1 with two). What a part does
// not have comes from others before there is new memory, in the order that take() says, and goes back where it is from. Longer
// spans are the first part's, which also has what is wholly free and what is new (span_part.hpp).
//
// Of several span heaps each has its own regions, for ever; only their holder looks at the changing parts of a record. New
// ones are placed on the nodes that the heap is for before anything touches them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.hpp"
#include "os/numa.hpp"
#include "spans/span_part.hpp"

namespace nebula {

class SpanHeap {
 public:
  static constexpr unsigned kPartsMost = 8;

  // Zero at first: apart, so that what surrounds it in the file or in memory stays dense.
  struct Room {
    SpanPart::FreeRegions free_regions = {};
    alignas(SpanPart) unsigned char parts[kPartsMost - 1][sizeof(SpanPart)] = {};
  };
  // Of one that is made by begin_at, with the room behind it.
  static constexpr std::size_t bytes();

  constexpr explicit SpanHeap(Room& room) : first_(room.free_regions), room_(&room) {}
  // For one in fresh memory that reads as zero, most of which this leaves untouched.
  static SpanHeap& begin_at(void* zeros, HeapId id);
  // Where new regions come from, and what is not yet touched of the old ones. Before other threads use the heap.
  void set_placement(const os::Placement& placement);
  [[nodiscard]] const os::Placement& placement() const { return first_.placement(); }
  // From now on there are so many parts, if there were fewer: one alone where pages are kept or come from the pool of huge pages, which
  // go further together. By one thread at a time, before anybody takes from the new ones.
  void open_parts(unsigned count);

  // `count` units starting at a multiple of `alignment` units (a power of two), with the unit record of the first one
  // committed. Their pages are as the last owner left them; commit what is to be used. kNoUnit when the system or the
  // budget refuses.
  // Dirty units of the part, of wholly free regions, and, not too often, of the others; then, but for kDirty, clean ones of the part and of wholly
  // free regions, dirty and clean ones of the others, new ones: in a small heap these before the others'.
  enum class From : std::uint8_t { kAny, kDirty };
  [[nodiscard]] UnitIndex take(Units count, Units alignment, From from = From::kAny, unsigned part = 0);
  // Who keeps free units apart is asked for them before clean ones are taken (where dirty ones of others are held back, behind the part's own
  // clean ones and what a small heap grows by), none of a rank above held; true: some came back. Set before other threads use any heap.
  using Keeper = bool (*)(HeapId heap);
  static void set_keeper(Keeper keeper) { keeper_ = keeper; }
  // Whether it is time for the part to have something of another's rather than new memory: 64 times in 128 ms, in the last eighth of a
  // limit, and above the soft one. Who does it without asking take() notes it.
  [[nodiscard]] bool may_take_beside(unsigned part) const { return part_at(own_part(part)).may_take_beside() || is_memory_short(); }
  // In the last eighth of a limit, or above the soft one, what is paid for comes first, whatever it costs.
  [[nodiscard]] bool is_memory_short() const;
  void note_taken_beside(unsigned part) { part_at(own_part(part)).note_taken_beside(); }
  void give_back(UnitIndex first, Units count) { part_of(first).give_back(first, count); }
  // Whether a unit in use goes back to this part.
  [[nodiscard]] bool is_of_part(UnitIndex unit, unsigned part) const { return nebula::part_of(unit) == own_part(part); }
  // Adds the units behind a span to it, if they are free.
  [[nodiscard]] bool extend(UnitIndex first, Units from, Units to) { return part_of(first).extend(first, from, to); }

  // Between these two nobody else changes the extent of the span that starts at this unit, nor purges behind it, and a
  // give_back waits. try_claim does not wait, and needs no span there.
  void claim(UnitIndex first) {
    while (!part_of(first).claim(first)) {  // somebody frees what is being resized: the program's error
    }
  }
  [[nodiscard]] bool try_claim(UnitIndex first) { return part_of(first).try_claim(first); }
  void release_claim(UnitIndex first) { part_of(first).release_claim(first); }

  // Before pages are moved into these units, which are the caller's: false when so many regions are patched already that
  // the process might run into the kernel's limit of mappings (vm.max_map_count).
  [[nodiscard]] bool note_patched(UnitIndex first, Units count) { return part_of(first).note_patched(first, count); }

  [[nodiscard]] bool is_own(RegionIndex index) const { return region_at(index).heap == id_; }

  enum class Purge {
    kIdle,        // what was idle for the policy's delay, beyond what it keeps, in the policy's way and in pieces
    kEverything,  // all dirty free pages, given back whatever the policy says
  };
  // Returns the bytes given back. kEverything stops after `enough` of them, the oldest regions of each part first.
  std::size_t purge(Purge how, std::size_t enough = ~std::size_t{0});

  // No huge page is asked for there any more, because part of what is in use is about to be given back: what is free goes, too, dirty or not.
  // Not with the lock of a rank above held. Of a region in use.
  void break_huge_page(RegionIndex index) { part_of(first_unit_of(index)).break_huge_page(index); }

  // The purge of idle pages leaves so many committed, with those in use. Before other threads use the heap.
  void keep(Pages pages);

  // Committed pages of free units, at any moment.
  [[nodiscard]] std::uint64_t dirty_bytes() const;

  // Growth out of the pool of huge pages (NEBULA_HUGETLB).
  using HugeTlb = SpanPart::HugeTlbIn<std::uint64_t>;
  using Facts = SpanPart::Facts;
  [[nodiscard]] Facts facts() const;  // of all parts

  // Nothing moves while all are held, growth, purges and claims included.
  void lock_quiet() NEBULA_UNCHECKED;
  void unlock() NEBULA_UNCHECKED;
  // In the child of a fork that could not wait for that: growths, purges and claims of threads that are not here any more
  // have ended. Units that such a purge had taken out of circulation are lost. What a thread was changing under a lock is
  // made anew from what no half-done change can have spoilt: the units in use and the committed pages.
  void reset_in_child() NEBULA_UNCHECKED;

 private:
  using Kind = SpanPart::Kind;
  // acquire: pairs with the release in open_parts.
  [[nodiscard]] unsigned parts() const { return parts_.load(std::memory_order_acquire); }
  [[nodiscard]] SpanPart& part_at(unsigned number) {
    return number == 0 ? first_ : *reinterpret_cast<SpanPart*>(room_->parts[number - 1]);
  }
  [[nodiscard]] const SpanPart& part_at(unsigned number) const { return const_cast<SpanHeap*>(this)->part_at(number); }
  // Whose a thread is that asks for this one.
  [[nodiscard]] unsigned own_part(unsigned part) const { return part < parts() ? part : 0; }
  // While the unit is in use, its region stays in its part.
  [[nodiscard]] SpanPart& part_of(UnitIndex unit) {
    return part_at(region_at(region_of(unit)).part.load(std::memory_order_relaxed));
  }
  // What others have: dirty units now and then, clean ones and lines of the class map not at all; or all there is.
  enum class Beside : std::uint8_t { kSeldom, kAlways };
  [[nodiscard]] UnitIndex take_dirty(SpanWish& wish, unsigned part, Beside how_often);
  [[nodiscard]] UnitIndex ask_keeper(SpanWish& wish, unsigned part);
  [[nodiscard]] bool has_few_dirty_beside(unsigned part) const;
  [[nodiscard]] UnitIndex take_beside(SpanWish& wish, unsigned part, Kind kind);
  [[nodiscard]] UnitIndex take_clean(SpanWish& wish, unsigned part, Beside how_often);
  [[nodiscard]] UnitIndex take_or_grow(SpanWish& wish, unsigned part, Beside how_often);
  [[nodiscard]] bool grows_first(const SpanWish& wish) const;
  template <class Visitor>
  void for_each_part(Visitor visit);

  static constinit Keeper keeper_;

  SpanPart first_;
  Room* room_;
  HeapId id_ = kFirstHeap;
  std::atomic<unsigned> parts_{1};
  std::atomic<unsigned> purges_{0};  // relaxed: each begins with another part
};

constexpr std::size_t SpanHeap::bytes() { return sizeof(SpanHeap) + sizeof(Room); }

}  // namespace nebula
