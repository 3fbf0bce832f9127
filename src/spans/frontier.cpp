#include "spans/frontier.hpp"

#include "base/bits.hpp"
#include "base/start_data.hpp"
#include "os/process.hpp"
#include "pages/address_space.hpp"
#include "sync/lock.hpp"

namespace nebula {

NEBULA_START_DATA constinit Frontier frontier;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::size_t record_bytes(std::size_t regions) {
  const std::size_t views = pages::views.load(kRelaxed);
  const std::size_t tenants = views - pages::whole_views.load(kRelaxed);
  const std::size_t maps = 1 + views + (pages::has_view_of_none.load(kRelaxed) ? 1 : 0);
  return maps * round_up(regions * kUnitsPerRegion, kPageSize) + round_up(regions * kRegionRecordBytes, kPageSize) +
         tenants * round_up(regions / 8 + 1, kPageSize);
}

}  // namespace

bool Frontier::try_hold() {
  std::uint32_t nobody = 0;
  // acquire: pairs with the release below; what the last holder mapped, counted and charged is seen.
  return holder_.compare_exchange_strong(nobody, thread_token(), std::memory_order_acquire, kRelaxed);
}

void Frontier::wait() {
  waiting_.fetch_add(1, std::memory_order_seq_cst);
  const std::uint32_t seen = releases_.load(std::memory_order_seq_cst);
  if (holder_.load(std::memory_order_seq_cst) != 0) os::wait_while(releases_, seen);
  waiting_.fetch_sub(1, kRelaxed);
}

// seq_cst, with wait(): either the releaser sees that somebody waits, or that thread sees that it need not.
void Frontier::release() {
  holder_.store(0, std::memory_order_seq_cst);
  if (waiting_.load(std::memory_order_seq_cst) == 0) return;
  releases_.fetch_add(1, std::memory_order_seq_cst);
  os::wake_all(releases_);
}

void Frontier::advance_to(RegionIndex regions) {
  regions_.store(regions, kRelaxed);
  // release: whoever sees the new bound (acquire is not needed: a pointer into the new regions reaches a thread only
  // after this store, by whatever handed it over) finds the class map mapped up to it.
  heap_map.mapped_units.store(std::uint64_t{regions} * kUnitsPerRegion, std::memory_order_release);
}

bool Frontier::charge_records(std::size_t regions) {
  const std::size_t records = record_bytes(regions);
  if (records <= charged_) return true;
  if (!pages::commit_metadata(records - charged_)) return false;
  charged_ = records;
  return true;
}

void Frontier::credit_records(std::size_t regions) {
  const std::size_t records = record_bytes(regions);
  if (records >= charged_) return;
  pages::uncommit_metadata(charged_ - records);
  charged_ = records;
}

void Frontier::reset_in_child() {
  if (holder_.load(kRelaxed) != thread_token()) holder_.store(0, kRelaxed);
  waiting_.store(0, kRelaxed);
  releases_.fetch_add(1, kRelaxed);  // if it is this thread that waits, it looks again
}

}  // namespace nebula
