#include "heap/routes.hpp"

#include "base/start_data.hpp"
#include "budget/size_limits.hpp"
#include "bump/block.hpp"

namespace nebula::heap::routes {

static_assert(config::kRoutedMost == kSmallMax);
static_assert(static_cast<unsigned>(Route::kPool) == 0);

NEBULA_START_DATA constinit std::atomic<bool> in_force{false};
NEBULA_START_DATA constinit std::atomic<Route> route_of_class[kUnitUses] = {};

void set(const config::Routes& routes, std::uint64_t bump_limit) {
  bump::set_limit(bump_limit);
  bool any = routes.is_auto;
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) {
    const SizeClass c = size_class(i);
    move(c, Route::kPool);
    for (const config::RouteRange& range : std::span(routes.ranges).first(routes.count)) {
      if (slot_size(c) < range.first || slot_size(c) > range.last) continue;
      if (range.route == Route::kPool || size_limits::of_class(c) != nullptr) continue;
      move(c, range.route);
      any = true;
    }
  }
  in_force.store(any, std::memory_order_relaxed);
}

}  // namespace nebula::heap::routes
