// Which way each size class comes, and what comes the way of the bump route. Off, nobody asks: malloc's slow path looks at one
// word for all that may divert it, profiles included, and at nothing more.
//
// A class goes where its slot size goes. A class whose sizes have an account of their own (NEBULA_BUDGET_SIZE) stays with
// pools: the account counts slots. A class may be moved while others allocate (auto_routes): a thread that does not know
// yet takes the old way once more, and either is right.
#pragma once

#include <atomic>

#include "config/routes.hpp"
#include "size_class/size_class.hpp"

namespace nebula::heap::routes {

using config::Route;

// Once, before other threads exist, when the accounts by size are set.
void set(const config::Routes& routes, std::uint64_t bump_limit);

extern constinit std::atomic<bool> in_force;  // relaxed: set before there are threads
extern constinit std::atomic<Route> route_of_class[kUnitUses];  // relaxed: it says where to take from and orders nothing

[[nodiscard]] inline Route of(SizeClass c) { return route_of_class[index_of(c)].load(std::memory_order_relaxed); }
inline void move(SizeClass c, Route to) { route_of_class[index_of(c)].store(to, std::memory_order_relaxed); }

}  // namespace nebula::heap::routes
