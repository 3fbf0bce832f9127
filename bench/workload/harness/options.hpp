// The command line that all workloads share: --threads N, --scale X, --seed N, --latency, --list, and the settings a
// program has of its own. Given twice, --scale multiplies, as a variant may have one of its own; of other options the
// last counts. What is wrong is named, and ends the program with status 2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace workload {

class Options;
class Report;

// A way to run the program, as the comparing tool lists it. Names of variants with more threads than processors end in
// the number of threads, -8 or -16.
struct Variant {
  const char* name;
  const char* arguments;
};

// `--name N`: a whole number from least to most, a multiple of step.
struct Setting {
  const char* name;
  std::uint64_t value;
  std::uint64_t least;
  std::uint64_t most;
  std::uint64_t step = 1;
};

struct Program {
  const char* name;
  Setting threads = {"threads", 1, 1, 1};
  std::span<const Variant> variants;
  std::span<const Setting> settings = {};
  void (*plain)(const Options&, Report&);  // calls malloc itself
  void (*timed)(const Options&, Report&);  // the same load; each call is timed
};

class Options {
 public:
  Options(const Program& program, std::span<char* const> words);

  bool list() const { return list_; }
  bool latency() const { return latency_; }
  std::uint64_t seed() const { return seed_; }
  unsigned threads() const { return static_cast<unsigned>(threads_.value); }
  std::uint64_t setting(std::string_view name) const;

  // `count` times --scale, at least 1: how much is done, never how much is alive.
  std::size_t scaled(std::size_t count) const;

 private:
  static constexpr std::size_t kMostSettings = 4;

  Setting* find(std::string_view name);

  const char* program_;
  bool list_ = false;
  bool latency_ = false;
  double scale_ = 1;
  std::uint64_t seed_ = 1;
  Setting threads_;
  Setting settings_[kMostSettings] = {};
  std::size_t setting_count_;
};

}  // namespace workload
