#include "budget/size_limits.hpp"

namespace nebula::size_limits {
namespace {

using config::AccountKind;
using config::kSizeLimitsMost;

constinit Account all[kSizeLimitsMost] = {
    Account{AccountKind::kSize}, Account{AccountKind::kSize}, Account{AccountKind::kSize}, Account{AccountKind::kSize},
    Account{AccountKind::kSize}, Account{AccountKind::kSize}, Account{AccountKind::kSize}, Account{AccountKind::kSize}};
constinit config::SizeLimit ranges[kSizeLimitsMost] = {};
constinit std::size_t count = 0;                 // all of this is written before there are threads
constinit Account* by_class[kClassEnd] = {};

Account* find(std::size_t bytes) {
  for (std::size_t i = 0; i < count; ++i)
    if (bytes >= ranges[i].first && bytes <= ranges[i].last) return &all[i];
  return nullptr;
}

}  // namespace

void set(std::span<const config::SizeLimit> limits, config::AtLimit at_limit) {
  count = limits.size();
  for (std::size_t i = 0; i < count; ++i) {
    ranges[i] = limits[i];
    all[i].set_limits(limits[i].bytes, kNoLimit);
    all[i].set_reserve(0);
    all[i].set_at_limit(at_limit);
  }
  for (unsigned i = kClassFirst; i < kClassEnd; ++i) by_class[i] = find(slot_size(size_class(i)));
}

Account* of_class(SizeClass c) { return by_class[index_of(c)]; }

Account* of_large(std::size_t bytes) { return count == 0 ? nullptr : find(bytes); }

std::span<Account> accounts() { return {all, count}; }

const config::SizeLimit& range_of(const Account& account) { return ranges[&account - all]; }

}  // namespace nebula::size_limits
