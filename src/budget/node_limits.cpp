#include "budget/node_limits.hpp"

#include "budget/account_list.hpp"

namespace nebula::node_limits {
namespace {

constinit AccountList<config::NodeLimit, config::kNodeLimitsMost> all;

}  // namespace

void set(std::span<const config::NodeLimit> limits, config::AtLimit at_limit) {
  all.set(limits, config::AccountKind::kNode, at_limit);
}

Account* of(unsigned node) {
  return all.find([=](const config::NodeLimit& limit) { return limit.node == node; });
}

std::span<Account> accounts() { return all.accounts(); }

unsigned node_of(const Account& account) { return all.limit_of(account).node; }

}  // namespace nebula::node_limits
