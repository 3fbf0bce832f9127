// The heap of one NUMA node: for each class its slabs, under one lock, and its depot; and the spans that slabs and
// large objects are made of. There is one node for now; everything that would differ by node is in here.
//
// Slabs of a class hang in lists by how much they can still give, and refills take from the fullest list first, so
// that the emptiest ones get the chance to become wholly free and go back to the spans. One empty slab a class is
// kept, against the cost of a class that swings across the border.
#pragma once

#include <cstddef>
#include <cstdint>

#include "node_heap/depot.hpp"
#include "slab/slab.hpp"
#include "spans/span_heap.hpp"

namespace nebula {

class NodeHeap {
 public:
  constexpr NodeHeap() = default;

  enum class Source {
    kDepotFirst,
    kSlabsOnly,  // while there is one thread: its slots come back in the order of their addresses
  };
  // Writes free slots downward from `end` and returns how many: about `wanted`, at most `room`; 0 when system and
  // budget have no more.
  [[nodiscard]] unsigned refill(SizeClass c, void** end, unsigned wanted, unsigned room, Source source);

  // Takes slots back. What proves to be no free slot is reported as misuse of `call`, and dropped.
  void flush(SizeClass c, void* const* slots, unsigned count, Source source, const char* call);

  // What direct() callers did, for the counts: threads without a heap, whose slots pass through no pool.
  void count_direct_allocation(SizeClass c);
  void count_direct_free(SizeClass c);

  // Reclaiming. Each returns when it has done what it can.
  enum class Depots { kAll, kIdle };
  void drain_depots(Depots which);
  void release_empty_slabs();
  // Gives back committed pages behind the marks of slabs and behind their last slots.
  std::size_t purge_slab_tails();

  [[nodiscard]] SpanHeap& spans() { return spans_; }
  [[nodiscard]] Depot& depot(SizeClass c) { return depots_[index_of(c)]; }

  struct ClassFacts {
    std::uint64_t slabs = 0;
    std::uint64_t slots_outside = 0;  // of slabs: live, in pools, in depots
    std::uint64_t slots_outside_peak = 0;
    std::uint64_t direct_allocations = 0;
    std::uint64_t direct_frees = 0;
    std::uint64_t dropped = 0;  // frees that were misuse
    std::uint64_t contended = 0;
    std::uint64_t refills = 0;  // from slabs
    std::uint64_t flushes = 0;  // to slabs
  };
  [[nodiscard]] ClassFacts facts(SizeClass c) const;

  // The locks of all classes and then the spans', in rank order, for fork and the report.
  void lock_all();
  [[nodiscard]] bool try_lock_all_for(unsigned milliseconds);
  void unlock_all();
  // In the child of a fork that could not take the locks: what others held or had begun is free and has ended.
  void reset_in_child();

 private:
  // List 0 is no list: a slab with nothing to give. Then by what is available, fullest first, then the empty ones.
  enum ListIndex : std::uint8_t { kUnlisted, kFullest, kEmptiest = kFullest + 3, kEmpty, kListEnd };

  struct alignas(2 * kCacheLine) Class {
    Lock lock{LockRank::kClass};
    UnitIndex lists[kListEnd] NEBULA_GUARDED_BY(lock) = {kNoUnit, kNoUnit, kNoUnit, kNoUnit, kNoUnit, kNoUnit};
    std::uint32_t empty_slabs NEBULA_GUARDED_BY(lock) = 0;
    std::uint64_t withdrawals_seen NEBULA_GUARDED_BY(lock) = 0;  // at the last look for idle depots
    ClassFacts facts NEBULA_GUARDED_BY(lock) = {};
  };

  [[nodiscard]] unsigned take_from_slabs(SizeClass c, void** end, unsigned wanted, unsigned room);
  [[nodiscard]] bool add_slab(SizeClass c);
  void link(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void unlink(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void relink(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void release(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  unsigned put_back_until_misuse(SizeClass c, void* const* slots, unsigned count, slab::Returned& verdict);
  void drain(SizeClass c);
  std::size_t purge_tail_of(UnitIndex unit, SizeClass c);

  Class classes_[kClassEnd] = {};
  Depot depots_[kClassEnd] = {};
  SpanHeap spans_;
};

extern constinit NodeHeap node_heap;

}  // namespace nebula
