// A part of a heap's spans: regions of its own under a lock of its own, from which the threads of one shard take.
//
// Every region of 2 MiB has a mask of its free units, and the regions hang in lists by the length of their longest free
// run: a span of up to one region comes from dirty units that were freed lately, else from the region whose longest run is
// the shortest that suffices, so the region with the longest free range is filled last and whole regions stay whole (the
// order of google/tcmalloc's filler). Before a whole region is broken, the seams between regions are looked at, which hang in lists by
// the length of the run that crosses them: without, an object of 1.5 MiB would leave a quarter of its region to smaller ones.
// Freeing sets bits; neighbours coalesce by being neighbours.
//
// Pages keep their state while free: dirty ones are used again without asking the kernel, clean ones are known to be
// zero. Regions with dirty free pages wait in a list by the age of the last free; purge (span_purge.cpp) takes the oldest first.
// Units with which it is done though they are dirty still (the kernel was only advised) are settled until they are used.
// Regions of hugetlbfs are committed as a whole when they are mapped: what is free there is dirty, and settled.
//
// The first part of a heap has also what is for all: growth, and wholly free regions, in a bitmap, where spans of
// more than a region are found, lowest address first; the unused units of their last region are free for others. Another part
// gets regions from there, and a region goes back there when it is wholly free. For that its lock is taken, and then the first's.
//
// A lock is not held across the kernel's work: growth is done by one thread at a time with the lock released, and
// a purge takes its units out of the free masks for as long as it lasts.
#pragma once

#include <atomic>
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

// What somebody wants to take.
struct SpanWish {
  Units count;
  Units alignment;
  bool is_refused = false;  // there were units, but the budget has no room for their records
  bool shares_lines = true;  // of the class map with other parts, where no whole region does not
  bool is_held_back = false;  // there may be dirty units in others' regions, but it has had its share of them

  [[nodiscard]] bool exceeds_region() const { return count.count > kUnitsPerRegion || alignment.count > kUnitsPerRegion; }
};

class alignas(2 * kCacheLine) SpanPart {
 public:
  // A bit for each region, zero at first: the wholly free ones.
  using FreeRegions = std::uint64_t[kRegionsMost / 64];

  constexpr explicit SpanPart(FreeRegions& free_regions) : free_regions_(free_regions) {}
  // The first one of a heap, in memory that reads as zero.
  static SpanPart& begin_first_at(void* zeros, HeapId id, FreeRegions& free_regions);
  // Another one, likewise.
  static SpanPart& begin_at(void* zeros, std::uint8_t number, SpanPart& first);

  // Spans as in span_heap.hpp. kNoUnit: there are none here.
  enum class Kind : std::uint8_t { kDirty, kClean };  // dirty units alone, or any, clean ones if need be
  [[nodiscard]] UnitIndex take(SpanWish& wish, Kind kind);
  // For a part that is not the first: in a region that is wholly free, which comes along.
  [[nodiscard]] UnitIndex take_from_first(SpanWish& wish, Kind kind);
  // Units in a region that another part uses go back there, come from there again, and bring lines that another processor has written: where a
  // line takes 400 ns, an object of 500 KB some 10 us. So a part takes them, rather than clean ones of its own, 64 times in 128 ms at most, unless
  // they are a quarter of what is committed or memory is short.
  [[nodiscard]] bool may_take_beside() const;
  void note_taken_beside();
  void give_back(UnitIndex first, Units count);
  [[nodiscard]] bool extend(UnitIndex first, Units from, Units to);

  // False where the region has become another part's.
  [[nodiscard]] bool claim(UnitIndex first);
  [[nodiscard]] bool try_claim(UnitIndex first);
  void release_claim(UnitIndex first);
  [[nodiscard]] bool note_patched(UnitIndex first, Units count);

  // How often units came here that a look may have missed: new ones, purged ones, a region of another part. To be read before the look
  // that finds nothing.
  [[nodiscard]] std::uint32_t arrivals() const { return arrivals_.load(std::memory_order_relaxed); }
  // Of the first part, when there is nothing: grows, or waits for who does. True: another look is worth it. False: the system or the
  // budget refuses, or the range is used up.
  [[nodiscard]] bool grow_or_wait(const SpanWish& wish, std::uint32_t arrivals_before);
  // True: something has arrived since, or a purge was waited for. False: nothing has, nor is anything being purged.
  [[nodiscard]] bool wait_for_purge(std::uint32_t arrivals_before);

  // What of all parts counts for one part's purge of idle pages.
  struct Idle {
    unsigned regions_left;        // to be looked at
    std::uint64_t dirty_elsewhere;    // pages of the other parts
    std::uint64_t settled_elsewhere;  // of these
  };
  std::size_t purge_idle(Idle& idle);
  std::size_t purge_everything(std::size_t enough);
  [[nodiscard]] static unsigned regions_per_purge();
  void break_huge_page(RegionIndex index);
  void keep(Pages pages);
  [[nodiscard]] bool keeps_pages() const { return kept_.count != 0; }
  // Of the first part: whether a region more, before it is needed, costs but its records: the heap is small, so no huge pages are asked for,
  // and growth was not refused when it was last asked for.
  [[nodiscard]] bool may_grow_ahead() const NEBULA_UNCHECKED;
  void set_placement(const os::Placement& placement);
  [[nodiscard]] const os::Placement& placement() const { return placement_; }

  // Each at any moment.
  [[nodiscard]] std::uint64_t dirty_pages() const NEBULA_UNCHECKED { return dirty_pages_; }
  [[nodiscard]] std::uint64_t settled_pages() const NEBULA_UNCHECKED { return settled_pages_; }

  template <class Number>
  struct HugeTlbIn {
    Number asked_regions = 0;
    Number regions = 0;
    Number refusals = 0;
  };
  struct Facts {
    RegionIndex regions = 0;  // an index above all of its own
    std::uint64_t mapped_regions = 0;  // the first part's, for all
    std::uint64_t placement_refusals = 0;
    std::uint64_t dirty_bytes = 0;
    std::uint64_t huge_regions = 0;  // for which huge pages were asked
    std::uint64_t growths = 0;
    std::uint64_t growth_refusals = 0;
    HugeTlbIn<std::uint64_t> huge_tlb = {};
  };
  [[nodiscard]] Facts facts() const;

  Lock& lock() { return lock_; }
  // When nothing moves: no growth, purge or claim.
  void lock_quiet() NEBULA_ACQUIRE(lock_);
  void reset_in_child() NEBULA_UNCHECKED;
  // The rest of it, when all parts are reset: wholly free regions go to the first one. And the first's own: what it counts of all.
  void return_regions_in_child() NEBULA_UNCHECKED;
  void recount_in_child() NEBULA_UNCHECKED;

 private:
  static constexpr unsigned kBesideBits = 8;
  [[nodiscard]] std::uint64_t beside_now() const;
  void rebuild();
  enum class End { kFront, kBack };
  // Through those links of its regions' records.
  struct List {
    void add(RegionIndex index, Region::Links Region::* links, End end);
    void remove(RegionIndex index, Region::Links Region::* links);

    RegionIndex first = kNoRegion;
    RegionIndex last = kNoRegion;
  };
  static SpanPart& begin_empty_at(void* zeros, HeapId id);

  // A region's part changes under the locks of both: who holds this one's is not told of a region that is its own and soon is not.
  [[nodiscard]] bool is_own(RegionIndex index) const {
    const Region& region = region_at(index);
    return region.heap == id_ && region.part.load(std::memory_order_relaxed) == number_;
  }
  [[nodiscard]] bool is_first() const { return first_ == nullptr; }
  [[nodiscard]] SpanPart& first_part() { return is_first() ? *this : *first_; }
  [[nodiscard]] const SpanPart& first_part() const { return is_first() ? *this : *first_; }

  [[nodiscard]] UnitIndex find(const SpanWish& wish) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] UnitIndex find_dirty(const SpanWish& wish) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] unsigned seam_at(RegionIndex index) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] UnitIndex find_across(Units count) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] static unsigned dirty_run(RegionIndex index, const SpanWish& wish);  // where one lies among dirty units; kNoRun: nowhere
  // With the first part's lock, too.
  [[nodiscard]] unsigned fitness(RegionIndex whole) const NEBULA_UNCHECKED;
  [[nodiscard]] RegionIndex find_whole(const SpanWish& wish, Kind kind) const NEBULA_UNCHECKED;
  [[nodiscard]] RegionIndex find_regions(std::size_t count, std::size_t alignment) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] UnitIndex use(UnitIndex first, SpanWish& wish) NEBULA_REQUIRES(lock_);
  [[nodiscard]] bool commit_unit_records(RegionIndex region) NEBULA_REQUIRES(lock_);
  struct Growth;
  [[nodiscard]] bool grow(Units count, Units alignment) NEBULA_REQUIRES(lock_);
  [[nodiscard]] bool plan(Units count, Units alignment, Growth& growth) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] bool charge_huge_tlb(Growth& growth) NEBULA_REQUIRES(lock_);
  void map_huge_tlb(Growth& growth) const;
  void map_ordinary(Growth& growth) const;
  void book(const Growth& growth) NEBULA_REQUIRES(lock_);
  void publish(const Growth& growth) NEBULA_REQUIRES(lock_);

  [[nodiscard]] bool may_go(RegionIndex index) const NEBULA_REQUIRES(lock_);
  void hand_over(RegionIndex index, SpanPart& to) NEBULA_REQUIRES(lock_, to.lock_);
  void return_if_whole(RegionIndex index) NEBULA_REQUIRES(lock_);
  void join_neighbours(RegionIndex index) NEBULA_REQUIRES(lock_);
  void leave_neighbours(RegionIndex index) NEBULA_REQUIRES(lock_);
  [[nodiscard]] bool are_free(UnitIndex first, std::size_t end) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] bool get_regions(UnitIndex first, std::size_t end) NEBULA_REQUIRES(lock_, first_->lock_);

  [[nodiscard]] bool is_claimed(UnitIndex first) const NEBULA_REQUIRES(lock_);
  void set_claimed(UnitIndex first) NEBULA_REQUIRES(lock_);
  void mark_used(UnitIndex first, Units count) NEBULA_REQUIRES(lock_);
  void mark_free(UnitIndex first, Units count) NEBULA_REQUIRES(lock_);
  void set_free_units(RegionIndex index, std::uint32_t units, End end) NEBULA_REQUIRES(lock_);
  void begin_free_units(RegionIndex index, std::uint32_t units, End end) NEBULA_REQUIRES(lock_);
  void note_whole(RegionIndex index, bool is_whole) NEBULA_REQUIRES(lock_);
  void put_in_list(RegionIndex index, unsigned length, End end) NEBULA_REQUIRES(lock_);
  void look_at_seam(RegionIndex index) NEBULA_REQUIRES(lock_);
  void put_in_seams(RegionIndex index, unsigned seam) NEBULA_REQUIRES(lock_);
  void dirty_unlink(RegionIndex index) NEBULA_REQUIRES(lock_);
  void dirty_append(RegionIndex index) NEBULA_REQUIRES(lock_);
  void note_dirty(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);
  void forget_dirty(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);
  void note_idle(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);
  void settle(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);
  void unsettle(RegionIndex index, std::uint32_t units) NEBULA_REQUIRES(lock_);

  enum class Purge : std::uint8_t { kIdle, kEverything };
  struct PurgeJob;
  [[nodiscard]] RegionIndex next_idle(std::uint64_t now, const Idle& idle) const NEBULA_REQUIRES(lock_);
  [[nodiscard]] std::size_t spare_pages() const NEBULA_REQUIRES(lock_);
  std::size_t purge_region(RegionIndex index, Purge how) NEBULA_REQUIRES(lock_);
  std::size_t purge_units(RegionIndex index, std::uint32_t chosen, os::Advice advice) NEBULA_REQUIRES(lock_);
  void heal(PurgeJob& job) const;
  void purge_runs(PurgeJob& job) const;
  // Of these units: how many pages are committed, and which units have some.
  struct Dirty {
    std::uint32_t pages = 0;
    std::uint32_t units = 0;
  };
  [[nodiscard]] static Dirty dirty_in(RegionIndex index, std::uint32_t units);
  [[nodiscard]] std::uint32_t units_to_purge(RegionIndex index, Purge how) const NEBULA_REQUIRES(lock_);

  Lock lock_{LockRank::kSpans};
  HeapId id_ = kFirstHeap;
  std::uint8_t number_ = 0;
  SpanPart* first_ = nullptr;  // of another one
  List lists_[kUnitsPerRegion + 1] NEBULA_GUARDED_BY(lock_) = {};  // by longest free run
  std::uint64_t lists_used_ NEBULA_GUARDED_BY(lock_) = 0;
  List seams_[2 * kUnitsPerRegion] NEBULA_GUARDED_BY(lock_) = {};  // by how many units are free on both sides together
  std::uint64_t seams_used_ NEBULA_GUARDED_BY(lock_) = 0;
  List dirty_ NEBULA_GUARDED_BY(lock_) = {};  // oldest free first
  Count dirty_pages_ NEBULA_GUARDED_BY(lock_);
  Count settled_pages_ NEBULA_GUARDED_BY(lock_);  // of these
  Readable<RegionIndex> regions_ NEBULA_GUARDED_BY(lock_);  // above all of its own
  Count mapped_regions_ NEBULA_GUARDED_BY(lock_);
  os::Placement placement_ = {};  // set before other threads use the heap
  Pages kept_ = {};               // the same
  std::atomic<std::uint32_t> patched_regions_{0};  // the first part's: of all; relaxed
  std::uint32_t grower_ NEBULA_GUARDED_BY(lock_) = 0;  // the token of the thread that is at it
  Tally purging_ NEBULA_GUARDED_BY(lock_);
  Tally claims_ NEBULA_GUARDED_BY(lock_);
  Changes changes_ NEBULA_GUARDED_BY(lock_);  // a growth, a purge or a claim has ended
  std::atomic<std::uint32_t> arrivals_{0};    // written under the lock; relaxed
  std::atomic<std::uint64_t> beside_{0};      // the time in 128 ms, and below kBesideBits how often; relaxed: a bound that two may pass at once
  Count huge_regions_ NEBULA_GUARDED_BY(lock_);
  Count growths_ NEBULA_GUARDED_BY(lock_);
  Count growth_refusals_ NEBULA_GUARDED_BY(lock_);
  Readable<bool> is_refused_growth_ NEBULA_GUARDED_BY(lock_);  // since the last that succeeded
  Count placement_refusals_ NEBULA_GUARDED_BY(lock_);
  HugeTlbIn<Count> huge_tlb_ NEBULA_GUARDED_BY(lock_);
  std::uint64_t* free_regions_ NEBULA_PT_GUARDED_BY(lock_);  // the first part's
};

}  // namespace nebula
