// The end of what is mapped of the range. All heaps grow there, each for itself: the regions of several heaps lie side by
// side in the pieces in which they were mapped, so one bound, one class map and one array of records serve all.
//
// One thread at a time may move it, without any lock: it holds the frontier while it asks the system for memory, and whoever
// needs it meanwhile waits with its locks released. Whoever holds it has a gate or tenants' lock, so when somebody else has all of these
// (fork, report) nobody does.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.hpp"

namespace nebula {

class Frontier {
 public:
  [[nodiscard]] bool try_hold();
  // Until it may be free again; takes nothing.
  void wait();
  void release();

  // The first region that was never mapped. Exact for the holder.
  [[nodiscard]] RegionIndex regions() const { return regions_.load(std::memory_order_relaxed); }
  // By the holder, past what it found taken.
  void skip_to(RegionIndex regions) { regions_.store(regions, std::memory_order_relaxed); }
  // By the holder, when class map, views and records reach so far: the bound of the fast path of free moves.
  void advance_to(RegionIndex regions);

  // By the holder. The class map, the views, the region records and what tenants note of regions are charged as the heap reaches them, page by page,
  // before anything is mapped: a refusal leaves everything as it was.
  [[nodiscard]] bool charge_records(std::size_t regions);
  void credit_records(std::size_t regions);

  // In the child of a fork that did not wait for the holder.
  void reset_in_child();

 private:
  std::atomic<RegionIndex> regions_{0};  // relaxed: written by the holder
  std::atomic<std::uint32_t> holder_{0};   // its token
  std::atomic<std::uint32_t> releases_{0};  // a futex
  std::atomic<std::uint32_t> waiting_{0};
  std::size_t charged_ = 0;  // bytes; the holder's
};

extern constinit Frontier frontier;

}  // namespace nebula
