// Accounts of threads: each thread that a rule names has one of its own until it ends. Then another may have it: by the same rule
// with what is left of the one before it, as long as that leaves most of the limit; by any rule when nothing is left.
//
// Which rule, says the thread's name at the time: on its slow paths, when a name was set or some milliseconds have gone by.
#pragma once

#include <atomic>
#include <span>
#include <string_view>

#include "budget/account.hpp"

namespace nebula::thread_limits {

// Once, before there are threads. The first rule whose pattern fits holds.
void set(std::span<const config::NamedLimit> rules, config::AtLimit at_limit);

extern constinit std::atomic<bool> any;  // relaxed: set before there are threads
[[nodiscard]] inline bool are_set() { return any.load(std::memory_order_relaxed); }

// A rule's number and one; 0 for a thread that is under none. The calling thread's; one system call.
using Rule = std::uint8_t;
[[nodiscard]] Rule rule_of_this_thread();
// Raised when a thread was given a name.
extern constinit std::atomic<std::uint32_t> names_set;  // relaxed: a hint to look

// An account's number and one; 0: none.
using Id = std::uint16_t;
inline constexpr unsigned kAccountsMost = 1000;
[[nodiscard]] Account& account(Id id);

struct Owner {
  int thread_id = 0;      // the last one's
  bool has_ended = false;
  Rule rule = 0;
  std::uint64_t inherited_bytes = 0;  // charged when its account began: of those before it
  char name[16] = {};     // as it was when the account began
};
[[nodiscard]] const Owner& owner_of(Id id);
[[nodiscard]] Id id_of(const Account& account);
[[nodiscard]] unsigned count();  // ids 1 to that are or were in use

// By one thread at a time (tenants.hpp). begin: a fresh account, or one that may begin anew; 0 when there is neither.
[[nodiscard]] Id begin_fresh(Rule rule);
void begin_again(Id id, Rule rule);
// Whether the next thread by this rule may go on with it: its thread has ended and left at most an eighth of the limit.
[[nodiscard]] bool can_be_inherited(Id id, Rule rule);
void inherit(Id id);
void end(Id id);

// Whether it began, for a thread that nobody has been told of: each is told to one caller.
[[nodiscard]] bool take_beginning(Id id);

// Of accounts that began anew, what they had counted before.
[[nodiscard]] Account::Counts past();
// Threads that should have an account and could not.
void count_without();
[[nodiscard]] std::uint64_t without();

}  // namespace nebula::thread_limits
