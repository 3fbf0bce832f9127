#include "budget/heap_accounts.hpp"

#include "base/start_data.hpp"

namespace nebula::heap_accounts {
namespace {

NEBULA_START_DATA constinit std::atomic<bool> any{false};  // relaxed: set before a heap that has accounts is used
constinit Accounts of_heaps[kNodeHeapsMost] = {};

template <class Visitor>
void for_each(HeapId heap, Visitor visit) {
  const Accounts& accounts = of_heaps[heap];
  for (Account* const account : {accounts.node, accounts.thread, accounts.module})
    if (account != nullptr) visit(*account);
}

}  // namespace

void set(HeapId heap, const Accounts& accounts, std::size_t committed_bytes) {
  of_heaps[heap] = accounts;
  for_each(heap, [=](Account& account) { account.charge_in_any_case(committed_bytes); });
  any.store(true, std::memory_order_relaxed);
}

const Accounts& of(HeapId heap) { return of_heaps[heap]; }

std::uint64_t least_limit_of(HeapId heap) {
  std::uint64_t least = kNoLimit;
  if (!any.load(std::memory_order_relaxed)) [[likely]] return least;
  for_each(heap, [&](const Account& account) { least = account.hard_limit() < least ? account.hard_limit() : least; });
  return least;
}

bool charge_pages(HeapId heap, std::size_t bytes, Account::Reserve reserve) {
  if (!any.load(std::memory_order_relaxed)) [[likely]] return charge_memory(bytes, reserve);
  Account* charged[3];
  unsigned count = 0;
  bool good = true;
  for_each(heap, [&](Account& account) {
    if (!good) return;
    good = account.try_charge(bytes);
    if (good) charged[count++] = &account;
  });
  if (good && charge_memory(bytes, reserve)) return true;
  while (count != 0) charged[--count]->credit(bytes);
  return false;
}

void credit_pages(HeapId heap, std::size_t bytes) {
  if (any.load(std::memory_order_relaxed)) [[unlikely]]
    for_each(heap, [=](Account& account) { account.credit(bytes); });
  credit_memory(bytes);
}

}  // namespace nebula::heap_accounts
