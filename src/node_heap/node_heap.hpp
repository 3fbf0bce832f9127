// The heap of one NUMA node: for each class its slabs and its depot, and the spans that slabs and large objects are made
// of. There is one node for now; everything that would differ by node is in here.
//
// A class is divided into shards, each with its own lock, slabs and depot. A thread takes from one shard only, so two threads
// share neither a lock nor the cache lines of neighbouring slots; what is freed goes home to the shard of its slab, whoever
// frees it. Before a shard asks for new memory it takes over slabs of others that have much to give.
//
// Slabs of a class hang in lists by how much they can still give, and refills take from the fullest list first, so
// that the emptiest ones get the chance to become wholly free and go back to the spans. One empty slab a class and shard is
// kept, against the cost of a class that swings across the border.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "node_heap/depot.hpp"
#include "slab/slab.hpp"
#include "spans/span_heap.hpp"

namespace nebula {

class NodeHeap {
 public:
  constexpr NodeHeap() = default;

  enum class Shard : std::uint8_t {};
  static constexpr unsigned kShards = 8;
  // As many as processors run threads at a time, up to the next power of two: more would only hold more memory. Before there
  // are threads.
  static void set_processors(unsigned processors);
  [[nodiscard]] static Shard shard_for(std::uint32_t thread_heap) { return static_cast<Shard>(thread_heap & shard_mask_); }
  // Before the first refill from it, under the registry's lock: whoever holds all locks holds that, so none appears meanwhile.
  void open(Shard shard);

  enum class Source {
    kDepotFirst,
    kSlabsOnly,  // while there is one thread: its slots come back in the order of their addresses
  };
  // Writes free slots downward from `end` and returns how many: about `wanted`, at most `room`; 0 when system and
  // budget have no more. At the limit of the class's size as few as one.
  [[nodiscard]] unsigned refill(SizeClass c, void** end, unsigned wanted, unsigned room, Source source, Shard shard);

  // Takes slots back, each to its own shard. What proves to be no free slot is reported as misuse of `call`, and dropped.
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

  struct ClassFacts {
    std::uint64_t slabs = 0;
    std::uint64_t slots_outside = 0;  // of slabs: live, in pools, in depots
    std::uint64_t direct_allocations = 0;
    std::uint64_t direct_frees = 0;
    std::uint64_t dropped = 0;  // frees that were misuse
    std::uint64_t contended = 0;
    std::uint64_t refills = 0;  // from slabs
    std::uint64_t flushes = 0;  // to slabs
    std::uint64_t in_depots = 0;  // slots
    std::uint64_t deposits = 0;
    std::uint64_t withdrawals = 0;
    std::uint64_t takeovers = 0;  // slabs that one shard took over from another
  };
  [[nodiscard]] ClassFacts facts(SizeClass c) const;  // over all shards
  [[nodiscard]] std::uint64_t slots_in_depots(SizeClass c) const;  // without locks

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
    UnitIndex lists[kListEnd] NEBULA_GUARDED_BY(lock) = {};  // kNoUnit
    std::uint32_t empty_slabs NEBULA_GUARDED_BY(lock) = 0;
    std::uint64_t withdrawals_seen NEBULA_GUARDED_BY(lock) = 0;  // at the last look for idle depots
    ClassFacts facts NEBULA_GUARDED_BY(lock) = {};
  };

  // Slots of other shards that a flush met under the lock of one.
  struct Later {
    unsigned count = 0;
    void* slots[kBatchMost + 2];
  };
  // How far a flush came under one lock, and why it stopped.
  struct PutBack {
    unsigned done = 0;
    bool met_misuse = false;
    slab::Returned verdict = slab::Returned::kBack;  // if so; kBack: the slab does not exist any more
  };

  [[nodiscard]] Class& class_of(Shard shard, SizeClass c) { return classes_[static_cast<unsigned>(shard)][index_of(c)]; }
  [[nodiscard]] Depot& depot(Shard shard, SizeClass c) { return depots_[static_cast<unsigned>(shard)][index_of(c)]; }
  [[nodiscard]] unsigned shards() const { return last_shard_.load(std::memory_order_relaxed) + 1; }

  [[nodiscard]] unsigned take_from_depot(SizeClass c, void** end, unsigned wanted, unsigned room, Shard shard);
  [[nodiscard]] unsigned take_from_any_slab(SizeClass c, void** end, unsigned wanted, unsigned room, Shard shard);
  [[nodiscard]] unsigned take_from_slabs(SizeClass c, void** end, unsigned wanted, unsigned room, Shard shard);
  [[nodiscard]] bool take_over_slab(SizeClass c, Shard shard);
  [[nodiscard]] bool add_slab(SizeClass c, Shard shard);
  void link(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void unlink(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void relink(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void release(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void put_back(SizeClass c, void* const* slots, unsigned count, Later& later, const char* call);
  [[nodiscard]] PutBack put_back_under_one_lock(SizeClass c, void* const* slots, unsigned count, Later& later);
  void drain(SizeClass c, Shard shard);
  using Halfway = bool[kShards][kClassEnd];
  void rebuild(const Halfway& halfway);
  std::size_t purge_tail_of(UnitIndex unit, SizeClass c);

  static constinit unsigned shard_mask_;
  std::atomic<unsigned> last_shard_{0};  // that was ever used; relaxed: read by those who hold the registry, or as a hint
  Class classes_[kShards][kClassEnd] = {};
  Depot depots_[kShards][kClassEnd] = {};
  // Apart from the rest, which begins as zeros and so takes no room in the file; one for each node.
  static constinit SpanHeap spans_;
};

extern constinit NodeHeap node_heap;

}  // namespace nebula
