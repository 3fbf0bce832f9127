#include "live/live.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "budget/size_limits.hpp"
#include "heap/heap.hpp"
#include "live/page.hpp"
#include "node_heap/node_heap.hpp"
#include "spans/large.hpp"
#include "support/heap_checks.hpp"

namespace nebula::live {
namespace {

namespace fs = std::filesystem;

// A runtime directory for this process; the page is made in it once, because a process has one.
struct Runtime {
  std::string folder;
  std::string variable;
  Runtime() {
    char name[] = "/tmp/nebula-unit-live-XXXXXX";
    folder = mkdtemp(name);
    variable = "XDG_RUNTIME_DIR=" + folder;
    const char* const environment[] = {"XDG_RUNTIME_DI=/nowhere", variable.c_str(), nullptr};
    testing::start_heap();
    begin(environment);
  }
  ~Runtime() { fs::remove_all(folder); }
};
Runtime& runtime() {
  static Runtime only;
  return only;
}

// As another process would: the file, and no more than what page.hpp says of it.
bool read_page(const std::string& path, Page& copy) {
  const int file = open(path.c_str(), O_RDONLY);
  if (file < 0) return false;
  constexpr auto kState = static_cast<ssize_t>(sizeof(State));
  bool whole = false;
  for (int tries = 0; tries < 1000 && !whole; ++tries) {
    std::uint64_t after = 0;
    if (pread(file, &copy.header, sizeof copy.header, 0) != ssize_t{sizeof copy.header}) break;
    const std::uint64_t sequence = copy.header.sequence;
    const auto place = static_cast<off_t>(offsetof(Page, states) + sequence % 2 * sizeof(State));
    if (pread(file, &copy.states[0], sizeof(State), place) != kState) break;
    if (pread(file, &after, sizeof after, offsetof(Page, header.sequence)) != ssize_t{sizeof after}) break;
    whole = sequence == after && sequence != 0;
  }
  close(file);
  return whole;
}

State now() {
  static Page copy;
  EXPECT_TRUE(read_page(path(), copy)) << path();
  return copy.states[0];
}

// The state as of a slow path after this call: writing has its share of time, and what is over that comes later.
State caught_up() {
  const std::uint64_t before = now().written_at_nanoseconds;
  for (int tries = 0; tries < 2000; ++tries) {
    // The time that writing may take again comes now before the one slow path, now before the other.
    void* const object = heap::allocate(1 << 20);
    if (tries % 2 != 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    heap::deallocate(object, "free");
    const State state = now();
    if (state.written_at_nanoseconds != before && state.large_live_bytes == large::counts().live_bytes) return state;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ADD_FAILURE() << "the page is not written any more";
  return now();
}

std::uint64_t sum_of(const State& state) {
  return state.live_bytes + state.pooled_bytes + state.depot_bytes + state.idle_bytes + state.metadata_bytes;
}

void expect_to_add_up(const State& state) {
  EXPECT_EQ(state.is_at_rest, 1u);
  EXPECT_EQ(sum_of(state), state.committed_bytes);
  std::uint64_t live = state.large_live_bytes + state.handler_live_bytes;
  for (const ClassRow& row : state.classes) {
    live += row.live * row.slot_bytes;
    EXPECT_EQ(row.live, row.allocations - row.frees) << row.slot_bytes;
  }
  EXPECT_EQ(live, state.live_bytes);
}

TEST(Live, APageIsMadeForItsOwnerAlone) {
  const std::string where = runtime().folder + "/nebula/";
  ASSERT_EQ(std::string(path()).rfind(where + std::to_string(getpid()) + '.', 0), 0u) << path();
  struct stat facts = {};
  ASSERT_EQ(stat(path(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777u, 0600u);
  EXPECT_EQ(static_cast<std::size_t>(facts.st_size), sizeof(Page));
  EXPECT_GE(facts.st_blocks * 512, facts.st_size) << "a hole would be a SIGBUS on a full disk";
  ASSERT_EQ(stat(where.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777u, 0700u);
  static Page copy;
  ASSERT_TRUE(read_page(path(), copy));
  EXPECT_EQ(copy.header.magic, kMagic);
  EXPECT_EQ(copy.header.layout_version, kLayoutVersion);
  EXPECT_EQ(copy.header.process_id, static_cast<std::uint64_t>(getpid()));
  EXPECT_STREQ(copy.header.program, program_invocation_short_name);
}

TEST(Live, EveryQuietSlowPathIsSeenAtOnce) {
  runtime();
  void* const first = heap::allocate(100 << 20);
  const State before = now();
  expect_to_add_up(before);
  void* const second = heap::allocate(50 << 20);
  const State after = now();
  expect_to_add_up(after);
  EXPECT_EQ(after.large_live_bytes, before.large_live_bytes + (50 << 20));
  EXPECT_EQ(after.committed_bytes, process_account.committed());
  heap::deallocate(second, "free");
  heap::deallocate(first, "free");
  EXPECT_EQ(now().large_live_bytes, before.large_live_bytes - (100 << 20));
}

TEST(Live, SmallObjectsAreCounted) {
  runtime();
  std::vector<void*> objects(20'000);
  for (void*& object : objects) object = heap::allocate(48);
  const State full = caught_up();
  const ClassRow& row = full.classes[2];
  EXPECT_EQ(row.slot_bytes, 48u);
  EXPECT_GE(row.live, objects.size());
  expect_to_add_up(full);
  for (void* const object : objects) heap::deallocate(object, "free");
  const State freed = caught_up();
  expect_to_add_up(freed);
  EXPECT_EQ(freed.classes[2].live, row.live - objects.size());
}

TEST(Live, AThreadIsThereWhileItLives) {
  runtime();
  heap::watch_thread_exits();
  const std::uint64_t mine = static_cast<std::uint64_t>(gettid());
  const auto has = [](const State& state, std::uint64_t thread) {
    for (std::uint64_t i = 0; i < state.thread_rows; ++i)
      if (state.threads[i].thread_id == thread) return true;
    return false;
  };
  std::uint64_t other = 0;
  std::thread([&] {
    other = static_cast<std::uint64_t>(gettid());
    const State state = caught_up();
    EXPECT_TRUE(has(state, other));
    EXPECT_TRUE(has(state, mine));
    expect_to_add_up(state);
  }).join();
  const State state = caught_up();
  EXPECT_FALSE(has(state, other));
  EXPECT_TRUE(has(state, mine));
}

// Each state that a reader takes for whole is of one moment, however fast writers are.
// Each row is what the account or heap itself says; on one node (TEST_NODES makes it four) there are no rows of nodes.
TEST(Live, AccountsAndNodeHeapsHaveRows) {
  runtime();
  testing::run_on_node(0);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // a thread that moves is noticed at most every 10
  const config::SizeLimit ranges[] = {{4096, 8191, 1 << 30}, {1 << 20, kNoLimit, 1 << 30}};
  size_limits::set(ranges, {});
  std::vector<void*> objects;
  for (unsigned node = 0; node < NodeHeap::places(); ++node)
    std::thread([&objects, node] {
      testing::run_on_node(node);
      for (int i = 0; i < 1000; ++i) objects.push_back(heap::allocate(5000));
      heap::flush_this_thread();
    }).join();
  State state = caught_up();
  expect_to_add_up(state);
  ASSERT_EQ(state.account_rows, 2u);
  for (unsigned i = 0; i < 2; ++i) {
    const AccountRow& row = state.accounts[i];
    EXPECT_EQ(row.kind, static_cast<std::uint64_t>(config::AccountKind::kSize));
    EXPECT_EQ(row.number, ranges[i].first);
    EXPECT_EQ(row.last_size, ranges[i].last);
    EXPECT_EQ(row.hard_limit, 1u << 30);
    EXPECT_LE(row.charged_bytes, row.peak_bytes);
    EXPECT_STREQ(row.name, "");
  }
  EXPECT_GE(state.accounts[0].charged_bytes, objects.size() * 5000);
  if (NodeHeap::places() == 1) {
    EXPECT_EQ(state.node_rows, 0u);
  } else {
    ASSERT_EQ(state.node_rows, NodeHeap::places());
    std::uint64_t committed = 0;
    for (unsigned node = 0; node < state.node_rows; ++node) {
      const NodeRow& row = state.nodes[node];
      committed += row.committed_bytes;
      EXPECT_GE(row.slot_bytes, 1000u * 5000);
      EXPECT_LE(row.slot_bytes + row.dirty_bytes, row.committed_bytes);
    }
    EXPECT_EQ(committed, state.committed_bytes - state.metadata_bytes);
    EXPECT_STRNE(state.nodes[0].purpose, "");
    EXPECT_STRNE(state.nodes[0].purpose, state.nodes[1].purpose);
  }
  for (void* const object : objects) heap::deallocate(object, "free");
  heap::flush_this_thread();
  // Freed by this thread of node 0; a state from in between has less.
  const auto is_caught_up = [&state] {
    for (unsigned node = 0; node < state.node_rows; ++node)
      if (state.nodes[node].returned != NodeHeap::at(static_cast<HeapId>(node)).traffic().returned) return false;
    return true;
  };
  state = caught_up();
  for (int tries = 0; tries < 20 && !is_caught_up(); ++tries) state = caught_up();
  EXPECT_TRUE(is_caught_up());
  for (unsigned node = 1; node < state.node_rows; ++node) EXPECT_GE(state.nodes[node].returned, 500u);
}

TEST(Live, AReaderNeverSeesHalfAState) {
  runtime();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&stop, i] {
      std::vector<void*> objects(500);
      while (!stop.load(std::memory_order_relaxed)) {
        for (void*& object : objects) object = heap::allocate(100 + static_cast<std::size_t>(i) * 600);
        for (void* const object : objects) heap::deallocate(object, "free");
        heap::deallocate(heap::allocate(1 << 20), "free");
      }
    });
  std::uint64_t last = 0;
  unsigned states = 0;
  static Page copy;
  constexpr unsigned kStates = 60;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (states < kStates && std::chrono::steady_clock::now() < deadline) {
    ASSERT_TRUE(read_page(path(), copy));
    const State& state = copy.states[0];
    EXPECT_GE(state.written_at_nanoseconds, last);
    if (state.written_at_nanoseconds == last || state.is_at_rest == 0) continue;
    last = state.written_at_nanoseconds;
    ++states;
    EXPECT_EQ(sum_of(state), state.committed_bytes);
    std::uint64_t live = state.large_live_bytes + state.handler_live_bytes;
    for (const ClassRow& row : state.classes) live += row.live * row.slot_bytes;
    ASSERT_EQ(live, state.live_bytes);
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(states, kStates);
}

int status_of(pid_t child) {
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return status;
}

TEST(Live, AChildHasAPageOfItsOwn) {
  runtime();
  const std::string parent = path();
  static Page before;
  ASSERT_TRUE(read_page(parent, before));
  const pid_t child = fork();
  if (child == 0) {
    begin_in_child();  // what lifecycle's fork handler does
    void* const object = heap::allocate(200 << 20);
    static Page copy;
    const bool own = parent != path() && read_page(path(), copy) && copy.states[0].large_live_bytes >= (200u << 20) &&
                     copy.header.process_id == static_cast<std::uint64_t>(getpid());
    end();
    const bool gone = access(path(), F_OK) != 0;
    heap::deallocate(object, "free");
    _exit(own && gone ? 0 : 1);
  }
  EXPECT_EQ(status_of(child), 0);
  static Page after;
  ASSERT_TRUE(read_page(parent, after));
  EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0);
}

TEST(Live, AForkThatTellsNobodyLeavesTheParentsPageAlone) {
  runtime();
  const std::string parent = path();
  static Page before;
  ASSERT_TRUE(read_page(parent, before));
  const auto child = static_cast<pid_t>(syscall(SYS_fork));
  if (child == 0) {
    // It is noticed with the next state that its cost allows.
    for (int i = 0; i < 5000 && parent == path(); ++i) {
      heap::deallocate(heap::allocate(100 << 20), "free");
      usleep(1000);
    }
    const bool own = parent != path() && access(path(), F_OK) == 0;
    end();
    _exit(own ? 0 : 1);
  }
  EXPECT_EQ(status_of(child), 0);
  static Page after;
  ASSERT_TRUE(read_page(parent, after));
  EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0);
}

TEST(Live, WhatKilledProcessesLeaveIsRemoved) {
  runtime();
  const pid_t child = fork();
  if (child == 0) {
    begin_in_child();
    raise(SIGKILL);
  }
  EXPECT_TRUE(WIFSIGNALED(status_of(child)));
  const std::string folder = runtime().folder + "/nebula";
  const std::string left = folder + '/' + std::to_string(child) + fs::path(path()).extension().string();
  EXPECT_EQ(access(left.c_str(), F_OK), 0);
  const std::string other = folder + "/1.2";  // of another namespace: not ours to judge
  close(open(other.c_str(), O_CREAT | O_WRONLY, 0600));
  const pid_t next = fork();
  if (next == 0) {
    begin_in_child();
    end();
    _exit(0);
  }
  EXPECT_EQ(status_of(next), 0);
  EXPECT_NE(access(left.c_str(), F_OK), 0) << "left over";
  EXPECT_EQ(access(other.c_str(), F_OK), 0);
  EXPECT_EQ(access(path(), F_OK), 0);
}

}  // namespace
}  // namespace nebula::live
