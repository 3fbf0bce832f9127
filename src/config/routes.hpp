// Which way objects of a size come: what NEBULA_ROUTE asks for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nebula::config {

enum class Route : std::uint8_t {
  kPool,  // a thread's pools, refilled from slabs
  kBump,  // a thread's block, by moving a mark
  kNode,  // a span of its own, from the node heap
};

struct RouteRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  Route route = Route::kPool;
};
inline constexpr std::size_t kRouteRangesMost = 8;
inline constexpr std::uint64_t kRoutedMost = 32 * 1024;  // what pools and blocks hold

// What no range names goes the default way: to pools up to kRoutedMost, to the node heap above.
struct Routes {
  RouteRange ranges[kRouteRangesMost];
  std::size_t count = 0;
  bool is_auto = false;  // the classes begin so, and heap/auto_routes moves them
};

// "pool", "bump", "auto", or ranges of sizes that do not overlap, each with its route: "16-1024:pool,1025-32768:bump,32769-:node".
// False for anything else: the result unchanged.
[[nodiscard]] bool parse_routes(std::string_view text, Routes& result);

}  // namespace nebula::config
