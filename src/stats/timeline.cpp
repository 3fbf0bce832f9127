#include "stats/timeline.hpp"

#include <atomic>

#include "base/start_data.hpp"
#include "budget/account.hpp"
#include "budget/usage.hpp"
#include "heap/reclaim.hpp"
#include "os/process.hpp"
#include "stats/snapshot.hpp"

namespace nebula::stats {
namespace {

constexpr std::uint64_t kFirstPeriodMilliseconds = 100;
constexpr unsigned kPatienceMilliseconds = 20;

NEBULA_LATER_DATA constinit bool is_kept = false;  // set before threads exist
NEBULA_LATER_DATA constinit std::atomic<bool> is_held{false};
// By whoever holds it.
constinit Point points_of_life[kTimelinePoints] = {};
NEBULA_LATER_DATA constinit unsigned count = 0;
NEBULA_LATER_DATA constinit bool last_is_extra = false;  // it was not due
NEBULA_LATER_DATA constinit std::uint64_t period = kFirstPeriodMilliseconds;

// acquire / release: the last holder's points are seen.
bool try_hold() { return !is_held.exchange(true, std::memory_order_acquire); }
void let_go() { is_held.store(false, std::memory_order_release); }

void halve() {
  for (unsigned i = 0; i < kTimelinePoints / 2; ++i) {
    const Point& one = points_of_life[2 * i];
    const Point& other = points_of_life[2 * i + 1];
    points_of_life[i] = one.committed_bytes > other.committed_bytes ? one : other;
  }
  count = kTimelinePoints / 2;
  period *= 2;
}

bool is_due(std::uint64_t milliseconds) {
  const unsigned regular = last_is_extra ? count - 1 : count;
  return regular == 0 || milliseconds - points_of_life[regular - 1].milliseconds >= period;
}

void append(const Point& point) {
  const bool due = is_due(point.milliseconds);
  if (last_is_extra) --count;
  if (count == kTimelinePoints) halve();
  points_of_life[count++] = point;
  last_is_extra = !due;
}

// What pools and depots hold, without locks.
std::uint64_t waiting_bytes() {
  std::uint64_t in_depots = 0;
  for (unsigned i = kClassFirst; i < kClassEnd; ++i)
    in_depots += NodeHeap::slots_in_depots(size_class(i)) * slot_size(size_class(i));
  return thread_heap::pooled_bytes_about() + in_depots;
}

std::uint64_t in_use_now() {
  const heap::HoldGate hold;
  return bytes_in_use.value();
}

// Inside the slow path, without locks.
void on_tick() {
  if (!try_hold()) return;
  const std::uint64_t now = elapsed_milliseconds();
  if (is_due(now)) {
    const std::uint64_t in_use = in_use_now();
    const std::uint64_t waiting = waiting_bytes();
    const os::Residence residence = os::residence();
    append({now, in_use > waiting ? in_use - waiting : 0, process_account.committed(),
            residence.is_known ? residence.resident_bytes : kUnknown});
  }
  let_go();
}

}  // namespace

void keep_timeline() {
  is_kept = true;
  heap::watch_ticks(on_tick);
}

void reset_timeline_in_child() { let_go(); }

HeldTimeline::HeldTimeline() {
  const std::uint64_t deadline = os::nanoseconds() + std::uint64_t{kPatienceMilliseconds} * 1'000'000;
  is_mine_ = is_kept && try_hold();
  // Not for ever: the holder may be this very thread, interrupted.
  while (is_kept && !is_mine_ && os::nanoseconds() < deadline) {
    os::yield_processor();
    is_mine_ = try_hold();
  }
}

HeldTimeline::~HeldTimeline() {
  if (is_mine_) let_go();
}

std::span<const Point> HeldTimeline::points() const {
  return is_mine_ ? std::span<const Point>(points_of_life, count) : std::span<const Point>();
}

void HeldTimeline::add_if_due(const Point& point) {
  if (is_mine_ && is_due(point.milliseconds)) append(point);
}

void HeldTimeline::add(const Point& point) {
  if (is_mine_) append(point);
}

}  // namespace nebula::stats
