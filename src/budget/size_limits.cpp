#include "budget/size_limits.hpp"

#include "base/start_data.hpp"
#include "budget/account_list.hpp"

namespace nebula::size_limits {
namespace {

constinit AccountList<config::SizeLimit, config::kSizeLimitsMost> all;
NEBULA_START_DATA constinit Account* by_class[kClassEnd] = {};

Account* find(std::size_t bytes) {
  return all.find([=](const config::SizeLimit& limit) { return bytes >= limit.first && bytes <= limit.last; });
}

}  // namespace

void set(std::span<const config::SizeLimit> limits, config::AtLimit at_limit) {
  all.set(limits, config::AccountKind::kSize, at_limit);
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) by_class[i] = find(slot_size(size_class(i)));
}

Account* of_class(SizeClass c) { return by_class[index_of(c)]; }

Account* of_large(std::size_t bytes) { return all.is_empty() ? nullptr : find(bytes); }

std::span<Account> accounts() { return all.accounts(); }

const config::SizeLimit& range_of(const Account& account) { return all.limit_of(account); }

}  // namespace nebula::size_limits
