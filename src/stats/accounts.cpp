#include "stats/accounts.hpp"

#include <cstring>

#include "base/largest.hpp"
#include "budget/module_limits.hpp"
#include "budget/node_limits.hpp"
#include "budget/size_limits.hpp"
#include "budget/thread_limits.hpp"
#include "budget/tree.hpp"
#include "node_heap/tenants.hpp"

namespace nebula::stats {
namespace {

AccountRow& add_row(const Accounts& to, const Account& account) {
  AccountRow& row = to.rows[to.count++];
  row = {account.counts()};
  row.kind = account.kind();
  row.hard_limit = account.hard_limit();
  row.charged_bytes = account.committed();
  row.peak_bytes = account.peak();
  return row;
}

void set_name(AccountRow& row, std::string_view name) {
  const std::string_view start = start_of(name, sizeof row.name - 1);
  std::memcpy(row.name, start.data(), start.size());
}

void look_at_tree(const Accounts& to) {
  const tree::Facts facts = tree::facts();
  if (facts.limit == 0) return;
  AccountRow& row = add_row(to, tree_account);
  row.hard_limit = facts.limit;
  row.charged_bytes = facts.total;
  row.peak_bytes = facts.peak;
  row.share_bytes = facts.share;
  row.processes = facts.processes;
  row.found_dead = facts.found_dead;
}

struct Charged {
  std::uint64_t bytes;
  thread_limits::Id id;
};

void look_at_threads(const Accounts& to) {
  ThreadAccounts& all = to.threads;
  all.are_set = thread_limits::are_set();
  if (!all.are_set) return;
  all.without = thread_limits::without() + tenants::without_heap();
  all.counts = thread_limits::past();
  all.count = thread_limits::count();
  Charged largest[kThreadAccountRows];
  unsigned shown = 0;
  for (unsigned i = 1; i <= all.count; ++i) {
    const auto id = static_cast<thread_limits::Id>(i);
    const Account& account = thread_limits::account(id);
    all.counts.add(account.counts());
    all.charged_bytes += account.committed();
    keep_largest<Charged>(largest, shown, {account.committed() + 1, id});  // one that has nothing is an account too
  }
  for (unsigned i = 0; i < shown; ++i) {
    AccountRow& row = add_row(to, thread_limits::account(largest[i].id));
    const thread_limits::Owner& owner = thread_limits::owner_of(largest[i].id);
    set_name(row, owner.name);
    row.thread_id = owner.thread_id;
    row.has_ended = owner.has_ended;
    row.inherited_bytes = owner.inherited_bytes;
  }
  all.shown = shown;
}

}  // namespace

void look_at_accounts(const Accounts& to) {
  look_at_tree(to);
  for (const Account& account : node_limits::accounts()) add_row(to, account).node = node_limits::node_of(account);
  look_at_threads(to);
  for (const Account& account : size_limits::accounts()) {
    AccountRow& row = add_row(to, account);
    row.first_size = size_limits::range_of(account).first;
    row.last_size = size_limits::range_of(account).last;
  }
  for (const Account& account : module_limits::accounts()) set_name(add_row(to, account), module_limits::name_of(account));
}

}  // namespace nebula::stats
