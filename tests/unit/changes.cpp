#include "sync/changes.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

namespace nebula {
namespace {

TEST(Changes, WhoWaitsSeesThem) {
  Lock lock(LockRank::kSpans);
  Changes changes;
  int value = 0;
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) {
      LockGuard guard(lock);
      changes.wait_while(lock, [&] { return value % 2 == 0; });
      ++value;
      changes.announce();
    }
  });
  for (int i = 0; i < 1000; ++i) {
    LockGuard guard(lock);
    changes.wait_while(lock, [&] { return value % 2 == 1; });
    ++value;
    changes.announce();
  }
  other.join();
  EXPECT_EQ(value, 2000);
}

// A handler that forks between the look and the sleep: in its child nobody is left to announce anything.
TEST(Changes, AForkBetweenTheLookAndTheSleepIsOne) {
  Lock lock(LockRank::kSpans);
  Changes changes;
  int looks = 0;
  alarm(10);  // it would sleep for ever
  lock.lock();
  changes.wait_while(lock, [&] {
    if (++looks == 2) return false;
    changes.forget_in_child();
    return true;
  });
  lock.unlock();
  alarm(0);
  EXPECT_EQ(looks, 2);
}

}  // namespace
}  // namespace nebula
