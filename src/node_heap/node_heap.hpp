// One heap: for each class its slabs and its depot, and the spans that slabs and large objects are made of. There is one
// for each NUMA node, or for whatever else memory is kept apart by (placement.hpp says which is for what); where there is
// nothing to keep apart, the first is alone. Each has regions of its own, so an address names its heap.
//
// A class is divided into shards, each with its own lock, slabs and depot. A thread takes from one shard only, so two threads
// share neither a lock nor the cache lines of neighbouring slots; what is freed goes home to the shard of its slab, whoever
// frees it.
//
// Slabs of a class hang in lists by how much they can still give, and refills take from the fullest list first, so
// that the emptiest ones get the chance to become wholly free. An empty slab stays with its class and shard, whose processor may have it
// in its cache, until somebody would need new memory without it: another class of the shard takes it, or all of
// them go back to the spans, of this shard first. So they cost nothing. Only when neither they nor dirty spans serve, a
// shard takes over slabs of others that have much to give.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/count.hpp"
#include "node_heap/depot.hpp"
#include "slab/slab.hpp"
#include "spans/span_heap.hpp"
#include "sync/changes.hpp"

namespace nebula {

class NodeHeap {
 public:
  constexpr NodeHeap() = default;

  // The heap with this number, which exists.
  [[nodiscard]] static NodeHeap& at(HeapId id);
  // acquire: a tenant's heap is made while others run, and seen whole by who counts it.
  [[nodiscard]] static unsigned count() { return heaps_.load(std::memory_order_acquire); }
  // How many of them are places, the first ones.
  [[nodiscard]] static unsigned places() { return places_.load(std::memory_order_relaxed); }
  // The heap of a unit below what is mapped.
  [[nodiscard]] static NodeHeap& of(UnitIndex unit) { return at(region_at(region_of(unit)).heap); }
  // Makes as many places as there are not yet, with a view for each. Once, before other threads run. False: system or budget
  // refuses, and there is the first alone.
  [[nodiscard]] static bool make(unsigned count);
  // One more heap at a place, after make(). Under tenants' lock, none of a higher rank held. kNoHeap: system or budget refuses, or there
  // are as many as there can be.
  enum class HasDepots : std::uint8_t { kYes, kNo };  // where slots are taken one by one, batches would only wait
  [[nodiscard]] static HeapId add_tenant(HeapId place, HasDepots has_depots);
  [[nodiscard]] static bool has_room_for_tenants() { return count() < kNodeHeapsMost; }
  // For a profile: one more view, in which every slab is another heap's. Once, no lock held. False: system or budget refuses.
  [[nodiscard]] static bool add_view_of_none();
  [[nodiscard]] HeapId id() const { return id_; }
  [[nodiscard]] HeapId place() const { return place_; }
  [[nodiscard]] bool is_tenants() const { return place_ != id_; }

  enum class Shard : std::uint8_t {};
  static constexpr unsigned kShards = 8;
  // As many as processors run threads at a time, up to the next power of two: more would only hold more memory. Before there
  // are threads.
  static void set_processors(unsigned processors);
  [[nodiscard]] static unsigned shards_most() { return shard_mask_ + 1; }
  [[nodiscard]] static Shard shard_for(std::uint32_t thread_heap) { return static_cast<Shard>(thread_heap & shard_mask_); }
  // Before the first refill from it, under the registry's lock: whoever holds all locks holds that, so none appears meanwhile.
  static void open(Shard shard);

  enum class Source {
    kDepotFirst,
    kSlabsOnly,  // while there is one thread: its slots come back in the order of their addresses
  };
  // Writes free slots downward from `end` and returns how many: about `wanted`, at most `room`; 0 when system and
  // budget have no more. At the limit of the class's size as few as one.
  [[nodiscard]] unsigned refill(SizeClass c, void** end, unsigned wanted, unsigned room, Source source, Shard shard);
  // The same from the shard's own depot and slabs, empty ones of other classes among them; 0 when those have none.
  [[nodiscard]] unsigned refill_from_shard(SizeClass c, void** end, unsigned wanted, unsigned room, Source source, Shard shard);

  // Whether the slot is of one of the shard's slabs, now.
  [[nodiscard]] bool is_of_shard(SizeClass c, const void* slot, Shard shard) const;

  // Under the thread's gate. Whether a refill would find some without new memory: in the depot, or in a slab, which is taken over from
  // another shard for that.
  [[nodiscard]] bool has_free_slots(SizeClass c, Shard shard);

  // Takes slots back, each to its own heap and shard. What proves to be no free slot is reported as misuse of `call`, and
  // dropped.
  static void flush(SizeClass c, void* const* slots, unsigned count, Source source, const char* call);

  // What direct() callers did, for the counts: threads without a heap, whose slots pass through no pool.
  void count_direct_allocation(SizeClass c);
  void count_direct_free(SizeClass c);

  // Reclaiming. Each returns when it has done what it can.
  enum class Depots { kAll, kIdle };
  void drain_depots(Depots which);
  void drain_depot(SizeClass c, Shard shard);
  void release_empty_slabs();
  // Those that nobody is about to take from, which is what new memory would otherwise be needed for. False: there were none.
  bool release_spare_slabs();
  bool release_spare_slabs_of(Shard shard);
  // Those among them that gave nothing since this came by the last time.
  void release_idle_spare_slabs();
  // Gives back pages of slabs that hold nothing, behind their marks and below, in one walk through the heaps that are chosen; stops after
  // `enough` bytes. Returns how many.
  using Chooses = bool (*)(HeapId heap, const Account* account);
  static std::size_t purge_slab_pages(std::size_t enough, Chooses chooses, const Account* account);
  // The same of all heaps' slabs that gave nothing since this came by the last time, where that is a quarter of the slab. From `unit` on
  // one slice, whose end it sets; true: it has come to the end of all.
  [[nodiscard]] static bool purge_quiet_slabs(UnitIndex& unit, std::size_t& purged);

  [[nodiscard]] SpanHeap& spans();
  // Whose the slab is that this unit of class c lies in.
  [[nodiscard]] static HeapId heap_of_slab(UnitIndex unit, SizeClass c);
  // For a tenant's heap, where a thread that takes from it frees a slot of a slab that its view does not have: from now on it has it.
  void show_slab(UnitIndex unit, SizeClass c) const;
  // In this order others help out when this heap has no more to give. Set before other threads use it.
  void set_helpers(const HeapId* helpers, unsigned count);

  struct Traffic {
    std::uint64_t returned = 0;    // slots that threads of other heaps freed
    std::uint64_t fallbacks = 0;   // requests that another heap had to meet
    std::uint64_t arrivals = 0;    // threads that came from another heap

    void add(const Traffic& other);
  };
  [[nodiscard]] Traffic traffic() const;
  void count_returned(unsigned slots) { returned_.fetch_add(slots, std::memory_order_relaxed); }
  // Calls ask(helper) for each that may help this heap out, nearest first, until one answers true; counts that. False: none.
  template <class Ask>
  bool ask_helpers(Ask ask) {
    Account* const refusing = refused_by;
    NodeHeap* helper = nullptr;
    for (unsigned i = 0; next_helper(i, helper);) {
      refused_by = nullptr;
      if (!ask(*helper)) continue;
      count_fallback(refusing);
      return true;
    }
    if (refusing != nullptr) refused_by = refusing;
    return false;
  }
  void count_arrival() { arrivals_.fetch_add(1, std::memory_order_relaxed); }
  // The helpers, nearest first. Those of a tenant's heap are his at other places, as far as he has any.
  [[nodiscard]] unsigned helpers() const { return helpers_count_; }
  [[nodiscard]] NodeHeap& helper(unsigned i) const { return at(helpers_[i]); }

  struct ClassFacts {
    Count slabs;
    Count empty_slabs;  // of these
    Count slots_outside;  // of slabs: live, in pools, in depots
    Count direct_allocations;
    Count direct_frees;
    Count dropped;  // frees that were misuse
    Count contended;
    Count refills;  // from slabs
    Count flushes;  // to slabs
    Count in_depots;  // slots
    Count deposits;
    Count withdrawals;
    Count takeovers;  // slabs that one shard took over from another

    void add(const ClassFacts& other);
  };
  [[nodiscard]] ClassFacts facts(SizeClass c) const;  // over all shards
  [[nodiscard]] static std::uint64_t slots_in_depots(SizeClass c);  // of all heaps, without locks
  [[nodiscard]] static std::uint64_t dirty_bytes_of_all();
  [[nodiscard]] static ClassFacts facts_of_all(SizeClass c);  // over all heaps too
  // Whether any heap ever had slots of the class; if not, its facts are all zero.
  [[nodiscard]] static bool has_begun(SizeClass c);

  // Tenants' lock, those of all classes and the spans' of all heaps, in rank order: for who cannot have all gates.
  static void lock_all();
  static void unlock_all();
  // In the child of a fork that could not take the locks: what others held or had begun is free and has ended.
  static void reset_in_child();

 private:
  // List 0 is no list: a slab with nothing to give. Then by what is available, fullest first, then those with holes, then the empty ones.
  enum ListIndex : std::uint8_t { kUnlisted, kFullest, kEmptiest = kFullest + 3, kWithHoles, kEmpty, kListEnd };

  struct alignas(2 * kCacheLine) Class {
    Lock lock{LockRank::kClass};
    UnitIndex lists[kListEnd] NEBULA_GUARDED_BY(lock) = {};  // kNoUnit
    std::uint64_t withdrawals_seen NEBULA_GUARDED_BY(lock) = 0;  // at the last look for idle depots
    Changes purges NEBULA_GUARDED_BY(lock);  // of pages of a slab have ended
    ClassFacts facts NEBULA_GUARDED_BY(lock) = {};
    std::uint32_t added NEBULA_GUARDED_BY(lock) = 0;  // slabs, ever
  };

  // Of a shard, a bit for each class. Relaxed: hints, but for whoever holds all gates.
  struct alignas(2 * kCacheLine) ClassBits {
    using Word = std::atomic<std::uint64_t>;
    // Which have an empty slab: set and cleared under the class's lock.
    Word spares[(kClassEnd + 63) / 64] = {};
    // Which have ever been used: set under a gate, before anything is changed. Until then lists, facts and depot are as at the start,
    // and whoever walks through all classes passes this one by, touching no page of it.
    Word begun[(kClassEnd + 63) / 64] = {};
  };

  // A heap and a shard of it, in the form that a slab has.
  enum class Home : std::uint16_t {};
  [[nodiscard]] Home home(Shard shard) const {
    return static_cast<Home>(id_ * kShards + static_cast<unsigned>(shard));
  }
  [[nodiscard]] static NodeHeap& heap_of(Home home) { return at(static_cast<HeapId>(static_cast<unsigned>(home) / kShards)); }
  [[nodiscard]] static Shard shard_of(Home home) { return static_cast<Shard>(static_cast<unsigned>(home) % kShards); }
  [[nodiscard]] bool next_helper(unsigned& i, NodeHeap*& result) const;
  void count_fallback(Account* refusing);
  [[nodiscard]] static Class& class_at(Home home, SizeClass c) { return heap_of(home).class_of(shard_of(home), c); }
  [[nodiscard]] static Home home_of(UnitIndex unit, SizeClass c);
  [[nodiscard]] static Home home_to_use(UnitIndex unit, SizeClass c);  // its class has begun there
  [[nodiscard]] bool has_begun(Shard shard, SizeClass c) const {
    return (bits_[static_cast<unsigned>(shard)].begun[index_of(c) / 64].load(std::memory_order_relaxed) >> index_of(c) % 64 & 1) != 0;
  }
  // Under the thread's gate, before anything else is done with the class in a shard.
  void begin(Shard shard, SizeClass c);
  [[nodiscard]] static bool is_guarded(UnitIndex unit, SizeClass c, Home home);

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
  // Those in use. A tenant's heap has one: few threads take from it, or one alone.
  [[nodiscard]] unsigned shards() const { return is_tenants() ? 1 : last_shard_.load(std::memory_order_relaxed) + 1; }
  [[nodiscard]] Shard own(Shard shard) const { return is_tenants() ? Shard{0} : shard; }

  using From = SpanHeap::From;
  enum class Memory : std::uint8_t { kOfShard, kAny };
  [[nodiscard]] unsigned take_from_depot(SizeClass c, void** end, unsigned wanted, unsigned room, Shard shard);
  [[nodiscard]] unsigned take_from_any_slab(SizeClass c, void** end, unsigned wanted, unsigned room, Shard shard, Memory memory);
  // `added`: how many slabs the class had been given in the shard, where none gives anything.
  [[nodiscard]] unsigned take_from_slabs(SizeClass c, void** end, unsigned wanted, unsigned room, Shard shard, std::uint32_t& added);
  [[nodiscard]] bool may_take_over(SizeClass c, Shard shard);  // whether that is better than new memory
  [[nodiscard]] std::uint64_t free_beside(SizeClass c, unsigned mine) const;  // bytes of slots in other shards' slabs, without locks
  [[nodiscard]] bool take_over_slab(SizeClass c, Shard shard);
  // Of units just taken; false for kNoUnit, and when the budget has no room for its first slot.
  // True, too, where another thread has added one since: then this one goes back, and who comes looks at that.
  [[nodiscard]] bool add_slab(SizeClass c, Shard shard, UnitIndex first, std::uint32_t added);
  [[nodiscard]] bool was_given_slabs(SizeClass c, Shard shard, std::uint32_t added);
  template <class Visit>
  bool find_class_with_spares(Shard shard, Visit visit);
  [[nodiscard]] UnitIndex take_spare_slab(Units units, Shard shard);
  [[nodiscard]] UnitIndex take_span(Units units, Shard shard, From from);
  void link(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void unlink(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void relink(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  [[nodiscard]] UnitIndex unlink_spare(Class& of) NEBULA_REQUIRES(of.lock);
  // Its units are the caller's then.
  void end_slab(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void release(Class& of, UnitIndex unit) NEBULA_REQUIRES(of.lock);
  void count_empty(Class& of, UnitIndex unit, int change) NEBULA_REQUIRES(of.lock);
  static void put_back(SizeClass c, void* const* slots, unsigned count, Later& later, const char* call);
  [[nodiscard]] static PutBack put_back_under_one_lock(SizeClass c, void* const* slots, unsigned count, Later& later);
  using Halfway = bool[kShards][kClassEnd];
  void reset_own_in_child();
  void rebuild(const Halfway& halfway);
  enum class Slabs : std::uint8_t { kAny, kQuiet };
  static std::size_t purge_pages_of(UnitIndex unit, SizeClass c, Slabs which);

  template <class Begin>
  [[nodiscard]] static bool begin_views(Begin begin);
  template <class Visitor>
  static void for_each_class_lock(Visitor visit);  // in rank order

  // What a unit is used for, in the class map and in every view.
  void set_class(UnitIndex first, std::size_t units, SizeClass c) const;
  void set_nothing(UnitIndex first, std::size_t units, std::uint64_t seen_by) const;
  void set_in_views(std::size_t unit, std::uint8_t in_own, std::uint8_t in_others) const;
  [[nodiscard]] unsigned refill_from_own(SizeClass c, void** end, unsigned wanted, unsigned room, Source source, Shard shard,
                                         Memory memory);

  static constinit unsigned shard_mask_;
  // Relaxed: read by those who hold the registry, or as a hint.
  static constinit std::atomic<unsigned> last_shard_;  // that was ever used
  static constinit std::atomic<unsigned> heaps_;
  static constinit std::atomic<unsigned> places_;

  HeapId id_ = kFirstHeap;
  HeapId place_ = kFirstHeap;
  HasDepots has_depots_ = HasDepots::kYes;
  std::uint8_t helpers_count_ = 0;
  HeapId helpers_[kPlacesMost] = {};
  std::atomic<std::uint64_t> returned_{0};  // all relaxed: totals for the report
  std::atomic<std::uint64_t> fallbacks_{0};
  std::atomic<std::uint64_t> arrivals_{0};
  ClassBits bits_[kShards] = {};  // beside what else every heap touches
  Class classes_[kShards][kClassEnd] = {};
  Depot depots_[kShards][kClassEnd] = {};
  // Of the first heap; apart from the rest, which begins as zeros and so takes no room in the file. Those of the others lie
  // behind them.
  static constinit SpanHeap::Room first_room_;
  static constinit SpanHeap first_spans_;
};

// The first one, with the number 0.
extern constinit NodeHeap node_heap;

inline NodeHeap& NodeHeap::at(HeapId id) {
  return id == kFirstHeap ? node_heap : *reinterpret_cast<NodeHeap*>(record_map.node_heaps + id * kNodeHeapBytes);
}

inline SpanHeap& NodeHeap::spans() {
  return id_ == kFirstHeap ? first_spans_ : *reinterpret_cast<SpanHeap*>(this + 1);
}

}  // namespace nebula
