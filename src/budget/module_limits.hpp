// Accounts of modules: of what a program's shared objects, or the program itself, have allocated. Which one that is says
// the return address of the call, by the loader's own table, which is read without a lock (_dl_find_object, glibc 2.35).
#pragma once

#include <atomic>
#include <span>
#include <string_view>

#include "budget/account.hpp"

namespace nebula::module_limits {

// Once, before there are threads. False: this C library does not tell where code belongs.
[[nodiscard]] bool set(std::span<const config::NamedLimit> limits, config::AtLimit at_limit);

extern constinit std::atomic<bool> any;  // relaxed: set before there are threads
[[nodiscard]] inline bool are_set() { return any.load(std::memory_order_relaxed); }

// A module that has an account: its place in accounts() and one; 0 for others.
using Id = std::uint8_t;
inline constexpr Id kNone = 0;
[[nodiscard]] Id of_code(const void* code);
// A module has gone: what was known of places in memory holds no more.
void forget();

[[nodiscard]] std::span<Account> accounts();
[[nodiscard]] std::string_view name_of(const Account& account);

}  // namespace nebula::module_limits
