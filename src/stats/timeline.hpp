// How memory went over time: up to 512 points in fixed memory. A point is taken on slow paths, by the coarse clock, at most
// ten a second; when there is no room, every second one goes and the time between points doubles. So it costs nothing while
// nothing happens, and covers the whole life of the process, an hour as a second. Of two points, the one with more committed
// memory stays. (The exact peak is kept apart, by the account.)
//
// Written by whoever takes a point and read by reports, one at a time; nobody waits long, a point is rather lost.
#pragma once

#include <cstdint>
#include <span>

namespace nebula::stats {

struct Point {
  std::uint64_t milliseconds;  // since the start of the process
  std::uint64_t live_bytes;    // counted without locks: close to, not exactly, what a report would say
  std::uint64_t committed_bytes;
  std::uint64_t resident_bytes;  // of the whole process, or ~0
};

inline constexpr unsigned kTimelinePoints = 512;

// Before threads exist: from now on there is a timeline.
void keep_timeline();
// In the child of fork: whoever was at it is gone.
void reset_timeline_in_child();

// While it lives, the timeline stands still.
class HeldTimeline {
 public:
  HeldTimeline();
  ~HeldTimeline();
  HeldTimeline(const HeldTimeline&) = delete;
  HeldTimeline& operator=(const HeldTimeline&) = delete;
  // Empty where it could not be had, or is not kept.
  [[nodiscard]] std::span<const Point> points() const;
  // Adds one if the last was long enough ago.
  void add_if_due(const Point& point);
  // Adds one in any case; if it was not due, it gives way to the next.
  void add(const Point& point);

 private:
  bool is_mine_;
};

}  // namespace nebula::stats
