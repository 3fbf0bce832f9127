// The few that weigh most, of many that come one after the other.
#pragma once

#include <span>
#include <utility>

namespace nebula {

// Keeps `candidate` among the first `count` of `kept`, the one with most bytes first, if it is one of those with most.
template <class Holder>
void keep_largest(std::span<Holder> kept, unsigned& count, Holder candidate) {
  if (candidate.bytes == 0) return;
  for (unsigned i = 0; i < count; ++i)
    if (kept[i].bytes < candidate.bytes) std::swap(kept[i], candidate);
  if (count < kept.size()) kept[count++] = candidate;
}

}  // namespace nebula
