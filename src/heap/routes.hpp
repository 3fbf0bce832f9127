// Which way each size class comes, and what comes the way of the bump route. Off, nobody asks: malloc's slow path looks at one
// word for all that may divert it, profiles included, and at nothing more.
//
// A class goes where its slot size goes. A class whose sizes have an account of their own (NEBULA_BUDGET_SIZE) stays with
// pools: the account counts slots.
#pragma once

#include <atomic>

#include "config/routes.hpp"
#include "size_class/size_class.hpp"

namespace nebula::heap::routes {

using config::Route;

// Once, before other threads exist, when the accounts by size are set.
void set(const config::Routes& routes, std::uint64_t bump_limit);

extern constinit std::atomic<bool> in_force;      // relaxed, as the next: set before there are threads
extern constinit std::uint8_t route_of_class[kUnitUses];

[[nodiscard]] inline Route of(SizeClass c) { return static_cast<Route>(route_of_class[index_of(c)]); }

}  // namespace nebula::heap::routes
