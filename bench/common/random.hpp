// Random numbers and sizes, the same in every run with the same seed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bench {

// Cheap enough to vanish beside an allocation (xorshift64, Marsaglia 2003).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_((seed + 1) * 0x9e3779b97f4a7c15u) {}

  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

  // In [0, limit), without a division; limit is at most 2^32.
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(((next() >> 32) * limit) >> 32); }

  // In [2^first, 2^last): as many in each power of two, so that most are small, as in real programs.
  std::size_t skewed(unsigned first, unsigned last) {
    const std::size_t base = std::size_t{1} << (first + below(last - first));
    return base + below(base);
  }

 private:
  std::uint64_t state_;
};

// Sizes drawn in advance and read in turn.
class Sizes {
 public:
  Sizes(std::size_t least, std::size_t most, std::uint64_t seed) {
    Random random(seed);
    for (auto& size : sizes_) size = static_cast<std::uint32_t>(least + random.below(most - least + 1));
  }
  std::size_t next() { return sizes_[at_++ % sizes_.size()]; }

 private:
  std::array<std::uint32_t, 4096> sizes_;
  std::size_t at_ = 0;
};

}  // namespace bench
