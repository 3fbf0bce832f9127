// Accounts that are asked for one by one, each with what it is for. Set once, before there are threads.
#pragma once

#include <cstddef>
#include <span>

#include "budget/account.hpp"

namespace nebula {

template <class Limit, std::size_t kMost>
class AccountList {
 public:
  void set(std::span<const Limit> limits, config::AccountKind kind, config::AtLimit at_limit) {
    count_ = limits.size();
    for (std::size_t i = 0; i < count_; ++i) {
      limits_[i] = limits[i];
      accounts_[i].begin(kind, limits[i].bytes, at_limit);
    }
  }

  [[nodiscard]] bool is_empty() const { return count_ == 0; }
  // In the order they were asked for.
  [[nodiscard]] std::span<Account> accounts() { return {accounts_, count_}; }
  [[nodiscard]] const Limit& limit_of(const Account& account) const { return limits_[&account - accounts_]; }
  // The first whose limit is so; null for none.
  template <class Condition>
  [[nodiscard]] Account* find(Condition is_so) {
    for (std::size_t i = 0; i < count_; ++i)
      if (is_so(limits_[i])) return &accounts_[i];
    return nullptr;
  }

 private:
  std::size_t count_ = 0;
  Limit limits_[kMost] = {};
  Account accounts_[kMost] = {};
};

}  // namespace nebula
