// The accounts of single heaps' pages: of the NUMA node that a heap is for, of the thread or the module that it is kept for. A
// page's heap follows from its address, so whoever frees what it holds, these are credited what they were charged.
#pragma once

#include <atomic>

#include "base/units.hpp"
#include "budget/account.hpp"

namespace nebula::heap_accounts {

struct Accounts {
  Account* node = nullptr;
  Account* thread = nullptr;
  Account* module = nullptr;
};

// What belongs to this heap from now on. Before other threads take from it; what it has by then is charged, whatever the limits.
void set(HeapId heap, const Accounts& accounts, std::size_t committed_bytes);
[[nodiscard]] const Accounts& of(HeapId heap);
// The smallest hard limit of these; kNoLimit for none.
[[nodiscard]] std::uint64_t least_limit_of(HeapId heap);

// Pages of this heap that become usable or were given back: these accounts, the tree and the process.
[[nodiscard]] bool charge_pages(HeapId heap, std::size_t bytes, Account::Reserve reserve);
void credit_pages(HeapId heap, std::size_t bytes);

}  // namespace nebula::heap_accounts
