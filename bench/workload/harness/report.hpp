// What a run found: the measured time, the operations in it, resident memory at the ends of phases. Printed as one line
// of JSON for bench/compare. Nothing here allocates.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace workload {

class Report {
 public:
  Report();

  // The measured part. It may be left and entered again: times and operations add up.
  void start_clock();
  void stop_clock(std::size_t operations);

  // Notes the resident memory of the process now.
  void phase(const char* name);

  void print(bool latency) const;

  std::size_t operations() const { return operations_; }
  double seconds() const { return static_cast<double>(nanoseconds_) * 1e-9; }

 private:
  struct Phase {
    const char* name;
    std::size_t resident;
  };
  static constexpr std::size_t kMostPhases = 16;

  int statm_;  // kept open, so that a phase is one read
  std::size_t operations_ = 0;
  std::uint64_t nanoseconds_ = 0;
  std::uint64_t ticks_ = 0;
  std::uint64_t started_at_ = 0;
  std::uint64_t started_ticks_ = 0;
  std::array<Phase, kMostPhases> phases_{};
  std::size_t phase_count_ = 0;
};

}  // namespace workload
