// Accounts of NUMA nodes: of the pages of heaps that are for one node alone.
#pragma once

#include <span>

#include "budget/account.hpp"

namespace nebula::node_limits {

// Once, before the heaps of nodes are made.
void set(std::span<const config::NodeLimit> limits, config::AtLimit at_limit);
// Null for a node without a limit.
[[nodiscard]] Account* of(unsigned node);
[[nodiscard]] std::span<Account> accounts();
[[nodiscard]] unsigned node_of(const Account& account);

}  // namespace nebula::node_limits
