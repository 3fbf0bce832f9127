// A set of NUMA nodes by the kernel's numbers, in the form that its memory-policy calls take.
#pragma once

#include <bit>
#include <cstdint>

namespace nebula {

class NodeSet {
 public:
  static constexpr unsigned kEnd = 1024;  // the most that Linux can be built for (CONFIG_NODES_SHIFT up to 10)

  constexpr void add(unsigned node) { words_[node / 64] |= std::uint64_t{1} << (node % 64); }
  [[nodiscard]] constexpr bool has(unsigned node) const {
    return node < kEnd && (words_[node / 64] >> (node % 64) & 1) != 0;
  }
  [[nodiscard]] constexpr unsigned count() const {
    unsigned sum = 0;
    for (const std::uint64_t word : words_) sum += static_cast<unsigned>(std::popcount(word));
    return sum;
  }
  [[nodiscard]] constexpr bool is_empty() const { return next(0) == kEnd; }
  // The lowest member at or above `from`; kEnd when there is none.
  [[nodiscard]] constexpr unsigned next(unsigned from) const {
    for (unsigned word = from / 64; word < kEnd / 64; ++word, from = 0) {
      const std::uint64_t members = words_[word] >> (from % 64) << (from % 64);
      if (members != 0) return word * 64 + static_cast<unsigned>(std::countr_zero(members));
    }
    return kEnd;
  }
  [[nodiscard]] constexpr NodeSet operator&(const NodeSet& other) const {
    NodeSet both;
    for (unsigned i = 0; i < kEnd / 64; ++i) both.words_[i] = words_[i] & other.words_[i];
    return both;
  }
  constexpr bool operator==(const NodeSet&) const = default;

  [[nodiscard]] std::uint64_t* words() { return words_; }
  [[nodiscard]] const std::uint64_t* words() const { return words_; }

 private:
  std::uint64_t words_[kEnd / 64] = {};
};

}  // namespace nebula
