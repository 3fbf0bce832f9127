#include "budget/account.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "budget/process_limits.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

TEST(Account, ChargesUpToTheLimitExactly) {
  Account account{config::AccountKind::kProcess};
  account.set_limits(1000, kNoLimit);
  EXPECT_TRUE(account.try_charge(600));
  EXPECT_FALSE(account.try_charge(401));
  EXPECT_TRUE(account.try_charge(400));
  EXPECT_TRUE(account.try_charge(0));
  EXPECT_FALSE(account.try_charge(1));
  EXPECT_EQ(account.committed(), 1000u);
  account.credit(1);
  EXPECT_TRUE(account.try_charge(1));
  EXPECT_EQ(account.peak(), 1000u);
}

TEST(Account, HugeRequestsDoNotWrapAround) {
  Account account{config::AccountKind::kProcess};
  account.set_limits(kNoLimit - 1, kNoLimit);
  EXPECT_TRUE(account.try_charge(100));
  EXPECT_FALSE(account.try_charge(~std::size_t{0}));
  EXPECT_FALSE(account.try_charge(~std::size_t{0} - 50));
  EXPECT_EQ(account.committed(), 100u);
}

TEST(Account, TheReserveIsWhatLiesAboveItsStart) {
  Account account{config::AccountKind::kProcess};
  EXPECT_EQ(account.reserve(), 0u);
  EXPECT_EQ(account.reserve_used_at(1000), 0u);
  account.set_limits(1 << 20, kNoLimit);
  EXPECT_EQ(account.reserve(), 65536u);
  EXPECT_FALSE(account.try_charge((1 << 20) - 65535, Account::Reserve::kMustLeave));
  EXPECT_TRUE(account.try_charge((1 << 20) - 65536, Account::Reserve::kMustLeave));
  EXPECT_EQ(account.reserve_used_at(account.peak()), 0u);
  EXPECT_TRUE(account.try_charge(100, Account::Reserve::kMayUse));
  EXPECT_EQ(account.reserve_used_at(account.peak()), 100u);
}

TEST(Account, RefusalsKeepTheLargest) {
  Account account{config::AccountKind::kProcess};
  account.count_refusal(10);
  account.count_refusal(30);
  account.count_refusal(20);
  EXPECT_EQ(account.refusals(), 3u);
  EXPECT_EQ(account.largest_refused(), 30u);
}

TEST(Account, SoftLimitIsCrossedAboveIt) {
  Account account{config::AccountKind::kProcess};
  account.set_limits(kNoLimit, 100);
  EXPECT_TRUE(account.try_charge(100));
  EXPECT_FALSE(account.is_over_soft_limit());
  EXPECT_TRUE(account.try_charge(1));
  EXPECT_TRUE(account.is_over_soft_limit());
}

TEST(Account, AnAccountThatWarnsGoesOnAndCounts) {
  Account account{config::AccountKind::kProcess};
  account.set_limits(1000, kNoLimit);
  account.set_at_limit({config::BudgetAction::kWarn, 0});
  EXPECT_TRUE(account.try_charge(900));
  EXPECT_FALSE(account.take_news().hard);
  EXPECT_TRUE(account.try_charge(500));
  EXPECT_TRUE(account.take_news().hard);
  EXPECT_TRUE(account.try_charge(1));
  EXPECT_EQ(account.over_limit(), 2u);
  EXPECT_EQ(account.committed(), 1401u);
  EXPECT_EQ(account.refusals(), 0u);
}

TEST(Account, ACrossingIsToldOnceUntilItIsComfortablyLeft) {
  Account account{config::AccountKind::kProcess};
  account.set_limits(10'000, 1000);
  EXPECT_TRUE(account.try_charge(1000));
  EXPECT_FALSE(account.take_news().soft);
  EXPECT_TRUE(account.try_charge(1));
  EXPECT_TRUE(account.take_news().soft);
  EXPECT_FALSE(account.take_news().soft);
  account.credit(50);  // 951: below the limit, above 95 % of it
  EXPECT_TRUE(account.try_charge(100));
  EXPECT_FALSE(account.take_news().soft);
  account.credit(101);  // 950
  EXPECT_TRUE(account.try_charge(51));
  EXPECT_TRUE(account.take_news().soft);
  account.note_hard_limit();
  account.note_hard_limit();
  EXPECT_TRUE(account.take_news().hard);
  EXPECT_FALSE(account.take_news().hard);
}

TEST(Account, ARaisedLimitCanBeCrossedAnew) {
  Account account{config::AccountKind::kProcess};
  account.set_limits(kNoLimit, 1000);
  EXPECT_TRUE(account.try_charge(1001));
  EXPECT_TRUE(account.take_news().soft);
  account.set_limits(kNoLimit, 2000);
  EXPECT_TRUE(account.try_charge(999));
  EXPECT_FALSE(account.take_news().soft);
  EXPECT_TRUE(account.try_charge(1));
  EXPECT_TRUE(account.take_news().soft);
}

// A limit and its last part are of one reading: of two, the part of the larger limit could be more than all of the smaller one.
TEST(Account, LimitsThatChangeMeanwhileHoldAllTheSame) {
  constexpr std::uint64_t kLarge = 1 << 20;
  constexpr std::uint64_t kSmall = 1000;
  Account account{config::AccountKind::kProcess};
  account.set_limits(kLarge, kNoLimit);
  std::atomic<bool> stop{false};
  std::thread changing([&] {
    while (!stop.load()) {
      account.set_limits(kSmall, kNoLimit);
      account.set_reserve(0);
      account.set_limits(kLarge, kNoLimit);
      account.set_reserve(kLarge);
    }
  });
  for (int i = 0; i < 200'000; ++i) {
    if (!account.try_charge(kLarge / 4, Account::Reserve::kMustLeave)) account.credit(account.committed());
    if (account.committed() > kLarge) break;
  }
  stop = true;
  changing.join();
  EXPECT_LE(account.peak(), kLarge);
}

TEST(Account, WhatTheProgramSaysOutlivesTheEnvironment) {
  process_limits::set_by_environment(std::uint64_t{1} << 50, kNoLimit);
  EXPECT_EQ(process_account.hard_limit(), std::uint64_t{1} << 50);
  process_limits::set(std::uint64_t{1} << 40, std::uint64_t{1} << 39);
  process_limits::set_by_environment(std::uint64_t{1} << 50, kNoLimit);
  EXPECT_EQ(process_account.hard_limit(), std::uint64_t{1} << 40);
  EXPECT_EQ(process_account.soft_limit(), std::uint64_t{1} << 39);
  process_limits::set(kNoLimit, kNoLimit);
}

TEST(Account, NeverAboveTheLimitFromEightThreads) {
  constexpr std::uint64_t kLimit = 100'000;
  Account account{config::AccountKind::kProcess};
  account.set_limits(kLimit, kNoLimit);
  std::atomic<std::uint64_t> charged{0};  // what threads hold; charged before, credited after
  std::atomic<bool> above{false};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      testing::Random random(t);
      std::vector<std::size_t> held;
      for (int i = 0; i < 50'000; ++i) {
        const std::size_t bytes = random.below(9000);
        if (random.below(2) == 0 && account.try_charge(bytes)) {
          charged.fetch_add(bytes);
          held.push_back(bytes);
        } else if (!held.empty()) {
          charged.fetch_sub(held.back());
          account.credit(held.back());
          held.pop_back();
        }
        if (account.committed() > kLimit || charged.load() > kLimit) above = true;
      }
      for (const std::size_t bytes : held) {
        charged.fetch_sub(bytes);
        account.credit(bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(above);
  EXPECT_EQ(account.committed(), 0u);
  EXPECT_LE(account.peak(), kLimit);
  EXPECT_GT(account.peak(), kLimit / 2);
}

}  // namespace
}  // namespace nebula
