#include "budget/tree.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

constexpr std::uint64_t kLimit = 1'000'000;

// In a process of its own, so that each test begins without a tree. What `body` returns is the exit status, 0 for good.
void in_process(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "the line of the check that failed";
}

#define MUST(condition) \
  if (!(condition)) return __LINE__ % 250 + 1

pid_t start(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child != 0) return child;
  tree::note_fork();
  _exit(body());
}

int status_of(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

TEST(Tree, WithoutOneEverythingPasses) {
  EXPECT_TRUE(tree::try_charge(~std::size_t{0}));
  tree::credit(1);
  EXPECT_EQ(tree::facts().limit, 0u);
}

TEST(Tree, TheSumOfAllProcessesNeverExceedsTheLimit) {
  in_process([] {
    MUST(tree::join(kLimit, "") == tree::Joined::kCreated);
    const std::uint64_t mine = tree::facts().total;
    MUST(tree::try_charge(400'000));
    const pid_t child = start([] {
      MUST(!tree::try_charge(600'001));
      MUST(refused_by == &tree_account);
      MUST(tree::try_charge(500'000));
      MUST(tree::facts().share == 500'000);
      MUST(tree::facts().processes == 2);
      tree::credit(500'000);
      return 0;
    });
    MUST(status_of(child) == 0);
    MUST(tree::facts().total == mine + 400'000);
    MUST(tree::facts().peak == mine + 900'000);
    tree::credit(400'000);
    MUST(tree::facts().total == mine);
    tree::leave();
    MUST(access(tree::path().data(), F_OK) != 0);
    return 0;
  });
}

TEST(Tree, TheShareOfAKilledProcessReturns) {
  in_process([] {
    MUST(tree::join(kLimit, "") == tree::Joined::kCreated);
    int ready[2];
    MUST(pipe(ready) == 0);
    const pid_t child = start([&] {
      MUST(tree::try_charge(700'000));
      MUST(write(ready[1], "x", 1) == 1);
      for (;;) pause();
    });
    char letter;
    MUST(read(ready[0], &letter, 1) == 1);
    MUST(!tree::try_charge(600'000));
    kill(child, SIGKILL);
    siginfo_t ended;
    MUST(waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT) == 0);
    MUST(tree::try_charge(600'000));  // although nobody has waited for it
    MUST(tree::facts().found_dead == 1);
    tree::credit(600'000);
    MUST(tree::facts().total == tree::facts().share);
    MUST(status_of(child) == 255);
    tree::leave();
    return 0;
  });
}

TEST(Tree, ProcessesThatAreStartedJoinByName) {
  in_process([] {
    MUST(tree::join(kLimit, "") == tree::Joined::kCreated);
    MUST(tree::try_charge(300'000));
    const std::string path(tree::path());
    // As a program that this one starts: it knows nothing but the name. The same process may join twice, as after exec.
    const pid_t child = fork();
    if (child == 0) {
      MUST(tree::join(5'000'000, path) == tree::Joined::kMember);
      MUST(tree::facts().limit == kLimit);
      MUST(tree::try_charge(100'000));
      MUST(tree::join(5'000'000, path) == tree::Joined::kMember);
      MUST(tree::facts().share == process_account.committed());
      _exit(0);
    }
    MUST(status_of(child) == 0);
    tree::credit(300'000);
    tree::leave();
    return 0;
  });
}

TEST(Tree, ANameThatIsNoTreeBeginsANewOne) {
  in_process([] {
    const char* const path = "/tmp/nebula-no-tree";
    const int file = ::open(path, O_CREAT | O_RDWR, 0600);
    MUST(file >= 0 && ftruncate(file, 65600) == 0);
    MUST(tree::join(kLimit, path) == tree::Joined::kCreated);
    MUST(tree::path() != path);
    tree::leave();
    unlink(path);
    return 0;
  });
  in_process([] {
    MUST(tree::join(kLimit, "/dev/shm/nebula-tree-gone") == tree::Joined::kCreated);
    tree::leave();
    return 0;
  });
}

TEST(Tree, TheFileOfATreeWhoseLastProcessWasKilledIsRemovedByTheNext) {
  int names[2];
  ASSERT_EQ(pipe(names), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (tree::join(kLimit, "") != tree::Joined::kCreated) _exit(1);
    const std::string path(tree::path());
    if (write(names[1], path.data(), path.size() + 1) < 0) _exit(1);
    for (;;) pause();
  }
  char path[100] = "";
  ASSERT_GT(read(names[0], path, sizeof path), 0);
  kill(child, SIGKILL);
  EXPECT_EQ(status_of(child), 255);
  EXPECT_EQ(access(path, F_OK), 0);
  in_process([] {
    MUST(tree::join(kLimit, "") == tree::Joined::kCreated);
    tree::leave();
    return 0;
  });
  EXPECT_NE(access(path, F_OK), 0);
}

// Pages that a child inherited are its parent's; what it gives back of them is no credit to the tree.
TEST(Tree, WhatAChildInheritsStaysItsParents) {
  in_process([] {
    testing::start_heap();
    MUST(process_account.try_charge(200'000));
    MUST(tree::join(10 * kLimit, "") == tree::Joined::kCreated);
    const std::uint64_t before = tree::facts().total;
    const pid_t child = start([] {
      MUST(tree::facts().share == 0);
      tree::credit(150'000);
      MUST(tree::facts().share == 0);
      MUST(tree::try_charge(50'000));
      MUST(tree::facts().share == 50'000);
      tree::credit(process_account.committed() - 150'000 + 50'000);
      MUST(tree::facts().share == 0);
      return 0;
    });
    MUST(status_of(child) == 0);
    MUST(tree::facts().total == before);
    tree::leave();
    return 0;
  });
}

// Many processes with many threads charge and credit at random; some are killed in the middle of it. At the end the living have
// exactly what the total says.
TEST(Tree, StormOfProcessesSomeOfThemKilled) {
  in_process([] {
    MUST(tree::join(kLimit, "") == tree::Joined::kCreated);
    const std::uint64_t mine = tree::facts().total;
    for (int round = 0; round < 5; ++round) {
      std::vector<pid_t> children;
      for (unsigned i = 0; i < 8; ++i) {
        children.push_back(start([i] {
          std::vector<std::thread> threads;
          for (unsigned t = 0; t < 2; ++t) {
            threads.emplace_back([i, t] {
              testing::Random random(i * 10 + t);
              std::uint64_t held = 0;
              for (int step = 0; step < 5'000 || i < 4; ++step) {
                const std::uint64_t bytes = 1 + random.below(40'000);
                if (random.below(2) == 0 && tree::try_charge(bytes)) held += bytes;
                else if (held != 0) {
                  const std::uint64_t back = 1 + random.below(held);
                  tree::credit(back);
                  held -= back;
                }
                if (tree::total() > kLimit) _exit(7);
              }
              tree::credit(held);
            });
          }
          for (std::thread& thread : threads) thread.join();
          return 0;
        }));
      }
      usleep(100'000);
      for (unsigned i = 0; i < 4; ++i) kill(children[i], SIGKILL);
      for (unsigned i = 0; i < 8; ++i) MUST(status_of(children[i]) == (i < 4 ? 255 : 0));
      MUST(!tree::try_charge(kLimit + 1));  // looks for the dead
      MUST(tree::facts().total == mine);
      MUST(tree::facts().processes == 1);
      MUST(tree::try_charge(kLimit - mine));
      tree::credit(kLimit - mine);
    }
    tree::leave();
    return 0;
  });
}

}  // namespace
}  // namespace nebula
