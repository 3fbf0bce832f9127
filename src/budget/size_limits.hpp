// Accounts by the size of objects: of the slots of a range of size classes, and of large objects in whole pages. A slot is
// charged from when it leaves its slab until it is back, so the free ones in pools and depots count; an object's
// account follows from its size alone.
#pragma once

#include <cstddef>
#include <span>

#include "budget/account.hpp"
#include "config/budgets.hpp"
#include "size_class/size_class.hpp"

namespace nebula::size_limits {

// Once, before the first allocation that counts.
void set(std::span<const config::SizeLimit> limits, config::AtLimit at_limit);

// The account of a class or of large objects of so many bytes; null for sizes without a limit.
[[nodiscard]] Account* of_class(SizeClass c);
[[nodiscard]] Account* of_large(std::size_t bytes);

// The accounts there are, in the order they were asked for, and their ranges.
[[nodiscard]] std::span<Account> accounts();
[[nodiscard]] const config::SizeLimit& range_of(const Account& account);

}  // namespace nebula::size_limits
