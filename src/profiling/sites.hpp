// Sites: the call stacks that samples came from, and what they add up to. A sample is counted when it is allocated and, with the same
// weight, when it is freed; the difference is alive. What is kept of one sample lies with its object (see spans/sampled.hpp
// and spans/large.hpp), so there is no table of live samples that could fill.
//
// A table of fixed size, filled by compare-and-swap, a list through all that is in it, and sums that are added to: no lock, any thread, handlers and children of fork. Stacks
// that found no room are counted under one site without frames. Relaxed atomics throughout: sums that order nothing.
#pragma once

#include <atomic>
#include <cstdint>

#include "profiling/code_map.hpp"
#include "profiling/sampler.hpp"
#include "profiling/stack.hpp"
#include "size_class/size_class.hpp"

namespace nebula::profiling {

// What is remembered of a sampled object.
struct Sample {
  std::uint32_t site = 0;       // 0: not a sample
  std::uint32_t size_class = 0; // 0: a large object
  std::uint64_t bytes = 0;      // of its slot or its pages
  std::uint64_t born = 0;       // nanoseconds
};

// Sums of weights, in parts as in Weight.
struct Sums {
  std::uint64_t samples = 0;
  Weight weight;

  void add(const Sums& other);
  void add(const Weight& sample);  // one more
  [[nodiscard]] Sums less(const Sums& part) const;  // never below zero
  [[nodiscard]] std::uint64_t objects() const { return rounded(weight.objects); }
  [[nodiscard]] std::uint64_t bytes() const { return rounded(weight.bytes); }
  [[nodiscard]] std::uint64_t bytes_error() const;  // one standard error of the estimate of bytes

 private:
  static std::uint64_t rounded(std::uint64_t parts) { return (parts + (1u << (kFractionBits - 1))) >> kFractionBits; }
};

struct Tally {
  std::atomic<std::uint64_t> samples, objects, bytes, variance;

  void add(const Weight& weight);  // of one sample
  [[nodiscard]] Sums sums() const;
};

struct Site {
  std::uint64_t hash;
  std::atomic<std::uint32_t> older;  // where the site added before it lies
  std::uint16_t depth;
  bool is_cut;
  Tally born, freed;
  Tally kept;  // of those alive at the exit, what libraries keep; see note_kept

  [[nodiscard]] LocationIndex* frames() { return reinterpret_cast<LocationIndex*>(this + 1); }
  [[nodiscard]] const LocationIndex* frames() const { return reinterpret_cast<const LocationIndex*>(this + 1); }
  [[nodiscard]] Sums allocated() const { return born.sums(); }
  // What is freed is read first, so that a running program shows no less than nothing.
  [[nodiscard]] Sums live() const;
  // Of that, what no library keeps.
  [[nodiscard]] Sums left() const;
};

namespace sites {

// Once, before main: false when there is no room for the tables. From then on `period` bytes are between samples.
[[nodiscard]] bool begin(std::uint64_t period);

// An object was allocated from this stack. Called with the caller's gate held. `requested`: what the program asked for.
[[nodiscard]] Sample note_allocation(const Stack& stack, unsigned size_class, std::size_t bytes, std::size_t requested);
void note_free(const Sample& sample);
// At the exit: the C library or the loader keeps this one for itself, so it is none that the program left.
void note_kept(const Sample& sample);

// One after the other, beginning at position 0; null at the end. The last one has no frames: all that found no room.
[[nodiscard]] const Site* next(unsigned& position);

// Lives by their length: below 1 µs, 2 µs, 4 µs, … 2^34 µs (nearly five hours), and longer.
inline constexpr unsigned kLifetimes = 36;
[[nodiscard]] unsigned lifetime_of(std::uint64_t nanoseconds);
// The length that those of this index stay below; 0: no bound.
[[nodiscard]] constexpr std::uint64_t lifetime_end_microseconds(unsigned index) {
  return index + 1 < kLifetimes ? std::uint64_t{1} << index : 0;
}
// Of what was freed.
[[nodiscard]] Sums lifetimes(unsigned index);

// Of all sites together. What is alive is read first.
struct Totals {
  Sums live, all;
};
[[nodiscard]] Totals totals();

// What the samples of a class asked for and were given; class 0: large objects. All that were ever allocated.
struct Fit {
  std::uint64_t samples = 0;
  std::uint64_t requested_bytes = 0;  // in parts, as Weight
  std::uint64_t given_bytes = 0;
};
[[nodiscard]] Fit fit(unsigned size_class);

struct Counts {
  std::uint64_t samples = 0;  // followed
  std::uint64_t freed = 0;    // of them
  std::uint64_t lost = 0;     // for which there was no memory: allocated in the ordinary way
  std::uint64_t sites = 0;
  std::uint64_t unplaced = 0; // samples whose stack found no room
  std::uint64_t table_bytes = 0;
};
[[nodiscard]] Counts counts();
void count_lost();

}  // namespace sites
}  // namespace nebula::profiling
