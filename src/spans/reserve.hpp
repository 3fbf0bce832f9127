// Memory that is had from the start (NEBULA_RESERVE): committed, charged, touched, and free. Nothing sets it apart but that the
// span heap's purge of idle pages leaves as much.
#pragma once

#include <cstdint>

#include "spans/span_heap.hpp"

namespace nebula::reserve {

// Once, before there are other threads, in a slow path. False: less than asked for could be had, which facts() tells.
[[nodiscard]] bool fill(SpanHeap& spans, std::uint64_t bytes);

struct Facts {
  std::uint64_t asked_bytes = 0;
  std::uint64_t obtained_bytes = 0;  // committed
  std::uint64_t touched_bytes = 0;   // of these
};
[[nodiscard]] const Facts& facts();

}  // namespace nebula::reserve
