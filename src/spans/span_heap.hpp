// Runs of 64 KiB units, for slabs and large objects alike.
//
// Every region of 2 MiB has a mask of its free units, and the regions hang in lists by the length of their longest free
// run: a span of up to one region comes from dirty units that were freed lately, else from the region whose longest run is
// the shortest that suffices, so the region with the longest free range is filled last and whole regions stay whole (the
// order of google/tcmalloc's filler). Before a whole region is broken, the seams between regions are looked at, which hang in lists by
// the length of the run that crosses them: without, an object of 1.5 MiB would leave a quarter of its region to smaller ones. A larger span takes whole regions, found in a bitmap, lowest address first; the unused units of its last
// region are free for others. Freeing sets bits; neighbours coalesce by being neighbours.
//
// Pages keep their state while free: dirty ones are used again without asking the kernel, clean ones are known to be
// zero. Regions with dirty free pages wait in a list by the age of the last free; purge (span_purge.cpp) takes the oldest first.
// Units with which it is done though they are dirty still (the kernel was only advised) are settled until they are used.
// Regions of hugetlbfs are committed as a whole when they are mapped: what is free there is dirty, and settled.
//
// One lock. It is not held across the kernel's work: growth is done by one thread at a time with the lock released, and
// a purge takes its units out of the free masks for as long as it lasts.
//
// Of several span heaps each has its own regions, for ever; only their holder looks at the changing parts of a record. New
// ones are placed on the nodes that the heap is for before anything touches them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/count.hpp"
#include "base/units.hpp"
#include "config/page_policy.hpp"
#include "os/numa.hpp"
#include "pages/region.hpp"
#include "sync/changes.hpp"
#include "sync/lock.hpp"
#include "sync/tally.hpp"

namespace nebula {

extern constinit config::PagePolicy page_policy;  // written before there are threads

class SpanHeap {
 public:
  // A bit for each region, zero at first: apart, so that what surrounds it in the file or in memory stays dense.
  using FreeRegions = std::uint64_t[kRegionsMost / 64];
  // Of one that is made by begin_at, with the bits behind it.
  static constexpr std::size_t bytes();

  constexpr explicit SpanHeap(FreeRegions& free_regions) : free_regions_(free_regions) {}
  // For one in fresh memory that reads as zero, most of which this leaves untouched.
  static SpanHeap& begin_at(void* zeros, HeapId id);
  // Where new regions come from, and what is not yet touched of the old ones. Before other threads use the heap.
  void set_placement(const os::Placement& placement);

  [[nodiscard]] const os::Placement& placement() const { return placement_; }

  // `count` units starting at a multiple of `alignment` units (a power of two), with the unit record of the first one
  // committed. Their pages are as the last owner left them; commit what is to be used. kNoUnit when the system or the
  // budget refuses.
  // `user` (1 and above, a shard's number) gets units of regions that only it uses as far as there are any, so that what it freed comes
  // back to it.
  enum class From : std::uint8_t { kAny, kDirty };
  [[nodiscard]] UnitIndex take(Units count, Units alignment, From from = From::kAny, std::uint8_t user = 0);
  // Who keeps free units apart is asked for them before clean ones are taken, none of a rank above held; true: some came back. Set before
  // other threads use any heap.
  using Keeper = bool (*)(HeapId heap);
  static void set_keeper(Keeper keeper) { keeper_ = keeper; }
  void give_back(UnitIndex first, Units count);
  // Adds the units behind a span to it, if they are free.
  [[nodiscard]] bool extend(UnitIndex first, Units from, Units to);

  // Between these two nobody else changes the extent of the span that starts at this unit, nor purges behind it, and a
  // give_back waits. try_claim does not wait.
  void claim(UnitIndex first);
  [[nodiscard]] bool try_claim(UnitIndex first);
  void release_claim(UnitIndex first);

  // Before pages are moved into these units, which are the caller's: false when so many regions are patched already that
  // the process might run into the kernel's limit of mappings (vm.max_map_count).
  [[nodiscard]] bool note_patched(UnitIndex first, Units count);

  [[nodiscard]] bool is_own(RegionIndex index) const { return region_at(index).heap == id_; }

  enum class Purge {
    kIdle,        // what was idle for the policy's delay, beyond what it keeps, in the policy's way and in pieces
    kEverything,  // all dirty free pages, given back whatever the policy says
  };
  // Returns the bytes given back. kEverything stops after `enough` of them, the oldest regions first.
  std::size_t purge(Purge how, std::size_t enough = ~std::size_t{0});

  // No huge page is asked for there any more, because part of what is in use is about to be given back: what is free goes, too, dirty or not.
  // Not with the lock of a rank above held.
  void break_huge_page(RegionIndex index);

  // The purge of idle pages leaves so many committed, with those in use. Before other threads use the heap.
  void keep(Pages pages);

  // Committed pages of free units. Takes the lock.
  [[nodiscard]] std::uint64_t dirty_bytes();

  // Growth out of the pool of huge pages (NEBULA_HUGETLB).
  template <class Number>
  struct HugeTlbIn {
    Number asked_regions = 0;
    Number regions = 0;
    Number refusals = 0;
  };
  using HugeTlb = HugeTlbIn<std::uint64_t>;
  struct Facts {
    RegionIndex regions = 0;  // an index above all of its own
    std::uint64_t mapped_regions = 0;
    std::uint64_t placement_refusals = 0;
    std::uint64_t dirty_bytes = 0;
    std::uint64_t huge_regions = 0;  // for which huge pages were asked
    std::uint64_t growths = 0;
    std::uint64_t growth_refusals = 0;
    HugeTlb huge_tlb = {};
  };
  [[nodiscard]] Facts facts() const;

  // For fork and the report: nothing moves while it is held, growth, purges and claims included.
  Lock& lock() { return lock_; }
  void lock_quiet() NEBULA_ACQUIRE(lock_);
  // In the child of a fork that could not wait for that: growths, purges and claims of threads that are not here any more
  // have ended. Units that such a purge had taken out of circulation are lost. What a thread was changing under the lock is
  // made anew from what no half-done change can have spoilt: the units in use and the committed pages.
  void reset_in_child() NEBULA_UNCHECKED;

 private:
  void rebuild();
  enum class End { kFront, kBack };
  // Through those links of its regions' records.
  struct List {
    void add(RegionIndex index, Region::Links Region::* links, End end);
    void remove(RegionIndex index, Region::Links Region::* links);

    RegionIndex first = kNoRegion;
    RegionIndex last = kNoRegion;
  };

  [[nodiscard]] UnitIndex find(Units count, Units alignment, std::uint8_t user) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] UnitIndex find_dirty(Units count, Units alignment, std::uint8_t user) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] unsigned seam_at(RegionIndex index) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] UnitIndex find_across(Units count) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] RegionIndex find_regions(std::size_t count, std::size_t alignment) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] bool commit_unit_records(RegionIndex region) NEBULA_REQUIRES(lock_);
  struct Growth;
  [[nodiscard]] bool grow(Units count, Units alignment) NEBULA_REQUIRES(lock_);
  [[nodiscard]] bool plan(Units count, Units alignment, Growth& growth) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] bool charge_huge_tlb(Growth& growth) NEBULA_REQUIRES(lock_);
  void map_huge_tlb(Growth& growth) const;
  void map_ordinary(Growth& growth) const;
  void book(const Growth& growth) NEBULA_REQUIRES(lock_);
  void publish(const Growth& growth) NEBULA_REQUIRES(lock_);

  [[nodiscard]] bool is_claimed(UnitIndex first) const NEBULA_REQUIRES(lock_);
  void set_claimed(UnitIndex first) NEBULA_REQUIRES(lock_);
  void mark_used(UnitIndex first, Units count) NEBULA_REQUIRES(lock_);
  void mark_free(UnitIndex first, Units count) NEBULA_REQUIRES(lock_);
  void set_free_units(RegionIndex index, std::uint32_t units, End end) NEBULA_REQUIRES(lock_);
  void look_at_seam(RegionIndex index) NEBULA_REQUIRES(lock_);
  void dirty_unlink(RegionIndex index) NEBULA_REQUIRES(lock_);
  void dirty_append(RegionIndex index) NEBULA_REQUIRES(lock_);
  void note_dirty(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);
  void forget_dirty(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);
  void note_idle(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);
  void settle(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);
  void unsettle(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);

  struct PurgeJob;
  [[nodiscard]] RegionIndex next_idle(std::uint64_t now) const NEBULA_REQUIRES(lock_);
  std::size_t purge_idle() NEBULA_REQUIRES(lock_);
  [[nodiscard]] std::size_t spare_pages() const NEBULA_REQUIRES(lock_);
  std::size_t purge_everything(std::size_t enough) NEBULA_REQUIRES(lock_);
  std::size_t purge_region(RegionIndex index, Purge how) NEBULA_REQUIRES(lock_);
  std::size_t purge_units(RegionIndex index, std::uint32_t chosen, os::Advice advice) NEBULA_REQUIRES(lock_);
  void heal(PurgeJob& job) const;
  void purge_runs(PurgeJob& job) const;
  [[nodiscard]] std::size_t dirty_pages_in(RegionIndex index, std::uint32_t units) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] std::uint32_t dirty_units_in(RegionIndex index, std::uint32_t units) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] std::uint32_t units_to_purge(RegionIndex index, Purge how) const NEBULA_REQUIRES(lock_);

  [[nodiscard]] bool ask_keeper() NEBULA_REQUIRES(lock_);

  static constinit Keeper keeper_;

  Lock lock_{LockRank::kSpans};
  List lists_[kUnitsPerRegion + 1] NEBULA_GUARDED_BY(lock_) = {};  // by longest free run
  std::uint64_t lists_used_ NEBULA_GUARDED_BY(lock_) = 0;
  List seams_[2 * kUnitsPerRegion] NEBULA_GUARDED_BY(lock_) = {};  // by how many units are free on both sides together
  std::uint64_t seams_used_ NEBULA_GUARDED_BY(lock_) = 0;
  List dirty_ NEBULA_GUARDED_BY(lock_) = {};  // oldest free first
  Count dirty_pages_ NEBULA_GUARDED_BY(lock_);
  std::uint64_t settled_pages_ NEBULA_GUARDED_BY(lock_) = 0;  // of these
  Readable<RegionIndex> regions_ NEBULA_GUARDED_BY(lock_);  // above all of its own
  Count mapped_regions_ NEBULA_GUARDED_BY(lock_);
  HeapId id_ = kFirstHeap;
  os::Placement placement_ = {};  // set before other threads use the heap
  Pages kept_ = {};               // the same
  std::uint32_t patched_regions_ NEBULA_GUARDED_BY(lock_) = 0;
  std::uint32_t grower_ NEBULA_GUARDED_BY(lock_) = 0;  // the token of the thread that is at it
  Tally purging_ NEBULA_GUARDED_BY(lock_);
  Tally claims_ NEBULA_GUARDED_BY(lock_);
  Changes changes_ NEBULA_GUARDED_BY(lock_);  // a growth, a purge or a claim has ended
  Count huge_regions_ NEBULA_GUARDED_BY(lock_);
  Count growths_ NEBULA_GUARDED_BY(lock_);
  Count growth_refusals_ NEBULA_GUARDED_BY(lock_);
  Count placement_refusals_ NEBULA_GUARDED_BY(lock_);
  HugeTlbIn<Count> huge_tlb_ NEBULA_GUARDED_BY(lock_);
  std::uint64_t* free_regions_ NEBULA_PT_GUARDED_BY(lock_);  // wholly free ones
};

constexpr std::size_t SpanHeap::bytes() { return sizeof(SpanHeap) + sizeof(FreeRegions); }

}  // namespace nebula
