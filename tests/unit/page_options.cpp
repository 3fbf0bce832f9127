// What is asked of the kernel for the options of pages, and what is done when it refuses: a stand-in sees each call. Each test in a
// process of its own, because the heap is one per process.
#include <errno.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "budget/account.hpp"
#include "heap/heap.hpp"
#include "node_heap/node_heap.hpp"
#include "pages/locking.hpp"
#include "spans/large.hpp"
#include "spans/reserve.hpp"
#include "spans/span_heap.hpp"
#include "support/enter_kernel.hpp"
#include "support/fault_system_call.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

using testing::kAskKernel;

SpanHeap& spans() {
  testing::start_heap();
  return node_heap.spans();
}

char* byte_at(UnitIndex unit) { return reinterpret_cast<char*>(address_of_unit(unit)); }

UnitIndex take_dirty(SpanHeap& heap, std::size_t units) {
  const UnitIndex first = heap.take({units}, {1});
  EXPECT_NE(first, kNoUnit);
  EXPECT_TRUE(pages::commit({first_page_of(first), {units * kPagesPerUnit}}));
  for (std::size_t offset = 0; offset < units * kUnitSize; offset += kPageSize) byte_at(first)[offset] = 'd';
  return first;
}

// madvise, by advice: how many bytes, and which advice the kernel of the test refuses.
std::map<long, std::size_t> advised;
long refused_advice = -1;

long note_advice(long number, long, long bytes, long advice, long) {
  if (number != SYS_madvise) return kAskKernel;
  advised[advice] += static_cast<std::size_t>(bytes);
  return advice == refused_advice ? -EINVAL : kAskKernel;
}

TEST(PageOptions, AdvisedOnceUntilUsed) {
  SpanHeap& heap = spans();
  heap.purge(SpanHeap::Purge::kEverything);
  page_policy.purge = config::PagePolicy::Purge::kNow;
  page_policy.idle_pages = os::Advice::kFree;
  testing::stand_in(note_advice);
  const UnitIndex first = take_dirty(heap, 64);
  const std::uint64_t committed = process_account.committed();
  heap.give_back(first, {64});
  EXPECT_EQ(heap.purge(SpanHeap::Purge::kIdle), 0u) << "nothing was given back";
  EXPECT_EQ(advised[MADV_FREE], 64 * kUnitSize);
  EXPECT_EQ(advised[MADV_DONTNEED], 0u);
  EXPECT_EQ(process_account.committed(), committed) << "advised pages stay charged";
  EXPECT_EQ(heap.facts().dirty_bytes, 64 * kUnitSize);
  heap.purge(SpanHeap::Purge::kIdle);
  EXPECT_EQ(advised[MADV_FREE], 64 * kUnitSize) << "advised twice";

  // What was used in between is advised anew, and nothing beside it.
  const UnitIndex again = take_dirty(heap, 3);
  heap.give_back(again, {3});
  heap.purge(SpanHeap::Purge::kIdle);
  EXPECT_EQ(advised[MADV_FREE], 67 * kUnitSize);
  EXPECT_EQ(pages::purge_counts().advised_bytes, 67 * kUnitSize);
  EXPECT_EQ(testing::inconsistency(), "");

  // Who needs memory back gets all of it.
  EXPECT_EQ(heap.purge(SpanHeap::Purge::kEverything), 64 * kUnitSize);
  EXPECT_EQ(process_account.committed(), committed - 64 * kUnitSize);
  EXPECT_EQ(heap.facts().dirty_bytes, 0u);
  for (std::size_t offset = 0; offset < 64 * kUnitSize; offset += kPageSize) ASSERT_EQ(byte_at(first)[offset], 0);
  EXPECT_EQ(testing::inconsistency(), "");
}

// Pages that were advised are not known to be zero: calloc must clear them.
TEST(PageOptions, AdvisedPagesAreDirty) {
  SpanHeap& heap = spans();
  page_policy.purge = config::PagePolicy::Purge::kNow;
  page_policy.idle_pages = os::Advice::kCold;
  const UnitIndex first = take_dirty(heap, 40);
  heap.give_back(first, {40});
  heap.purge(SpanHeap::Purge::kIdle);
  const pages::Range range = {first_page_of(first), {40 * kPagesPerUnit}};
  EXPECT_EQ(pages::committed_in(range).count, 40u * kPagesPerUnit);
  EXPECT_EQ(heap.take({40}, {1}), first);
  pages::clear_committed(range);
  for (std::size_t offset = 0; offset < 40 * kUnitSize; offset += kPageSize) ASSERT_EQ(byte_at(first)[offset], 0);
  heap.give_back(first, {40});
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(PageOptions, AdviceThatTheKernelDoesNotKnow) {
  SpanHeap& heap = spans();
  heap.purge(SpanHeap::Purge::kEverything);
  page_policy.purge = config::PagePolicy::Purge::kNow;
  page_policy.idle_pages = os::Advice::kPageOut;
  refused_advice = MADV_PAGEOUT;
  testing::stand_in(note_advice);
  const UnitIndex first = take_dirty(heap, 32);
  heap.give_back(first, {32});
  EXPECT_EQ(heap.purge(SpanHeap::Purge::kIdle), 32 * kUnitSize);
  EXPECT_GE(pages::purge_counts().advice_refusals, 1u);
  EXPECT_EQ(pages::purge_counts().advices, 0u);
  EXPECT_EQ(heap.facts().dirty_bytes, 0u);
  EXPECT_EQ(*byte_at(first), 0);
  EXPECT_EQ(testing::inconsistency(), "");
}

// What is settled no longer counts for what the policy keeps: else all idle memory would be advised bit by bit.
TEST(PageOptions, KeptMemoryIsNotAdvised) {
  SpanHeap& heap = spans();
  heap.purge(SpanHeap::Purge::kEverything);
  page_policy.delay_milliseconds = 0;
  page_policy.idle_pages = os::Advice::kFree;
  testing::stand_in(note_advice);
  const UnitIndex first = take_dirty(heap, 160);  // 10 MiB
  heap.give_back(first, {160});
  for (int i = 0; i < 20; ++i) heap.purge(SpanHeap::Purge::kIdle);
  EXPECT_GE(advised[MADV_FREE], 6 * kMiB);
  EXPECT_LE(advised[MADV_FREE], 8 * kMiB);
  EXPECT_EQ(testing::inconsistency(), "");
}

bool is_resident(UnitIndex first, std::size_t units) {
  std::vector<unsigned char> pages(units * kPagesPerUnit);
  if (mincore(byte_at(first), units * kUnitSize, pages.data()) != 0) return false;
  for (const unsigned char page : pages)
    if ((page & 1) == 0) return false;
  return true;
}

// The resident pages of free memory, by walking the regions.
std::size_t resident_free_pages(SpanHeap& heap) {
  std::size_t count = 0;
  for (RegionIndex index = 0; index < heap.facts().regions; ++index)
    for (unsigned unit = 0; unit < kUnitsPerRegion; ++unit)
      if ((region_at(index).free_units >> unit & 1) != 0 && is_resident(first_unit_of(index) + unit, 1)) count += kPagesPerUnit;
  return count;
}

std::size_t committed_pages(SpanHeap& heap) {
  std::size_t count = 0;
  for (RegionIndex index = 0; index < heap.facts().regions; ++index) count += pages::committed_in(pages::pages_of(index)).count;
  return count;
}

constexpr std::size_t kReserve = 150 * kMiB + 300 * kKiB;  // whole pieces and a piece of a region

TEST(PageOptions, ReserveIsResidentAndKept) {
  SpanHeap& heap = spans();
  testing::stand_in(note_advice);
  EXPECT_TRUE(reserve::fill(heap, kReserve));
  EXPECT_EQ(advised[MADV_POPULATE_WRITE], 150 * kMiB + 320 * kKiB);
  EXPECT_EQ(reserve::facts().obtained_bytes, 150 * kMiB + 320 * kKiB);
  EXPECT_EQ(reserve::facts().touched_bytes, 150 * kMiB + 320 * kKiB);
  EXPECT_GE(resident_free_pages(heap) * kPageSize, kReserve);
  EXPECT_EQ(testing::inconsistency(), "");

  // What is taken from it and given back in time is its own again; what is above it goes.
  page_policy.purge = config::PagePolicy::Purge::kNow;
  const UnitIndex first = take_dirty(heap, 4000);
  EXPECT_GE(committed_pages(heap) * kPageSize, 240 * kMiB);
  heap.give_back(first, {4000});
  EXPECT_GT(heap.purge(SpanHeap::Purge::kIdle), 0u);
  EXPECT_GE(committed_pages(heap) * kPageSize, reserve::facts().obtained_bytes);
  EXPECT_LE(committed_pages(heap) * kPageSize, reserve::facts().obtained_bytes + 2 * kRegionSize);
  EXPECT_EQ(heap.purge(SpanHeap::Purge::kIdle), 0u);

  // The program's own use counts, too: what it holds need not be kept beside it.
  page_policy.idle_pages = os::Advice::kFree;
  EXPECT_EQ(heap.purge(SpanHeap::Purge::kIdle), 0u);
  EXPECT_EQ(advised[MADV_FREE], 0u) << "the reserve is not left to the kernel";
  const std::uint64_t committed = process_account.committed();
  EXPECT_GE(heap.purge(SpanHeap::Purge::kEverything), kReserve) << "at a limit it goes like any other";
  EXPECT_LE(process_account.committed(), committed - kReserve);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(PageOptions, ReserveIsTouchedByHandWhereTheKernelCannot) {
  SpanHeap& heap = spans();
  refused_advice = MADV_POPULATE_WRITE;
  testing::stand_in(note_advice);
  EXPECT_TRUE(reserve::fill(heap, kReserve));
  EXPECT_EQ(reserve::facts().touched_bytes, 150 * kMiB + 320 * kKiB);
  EXPECT_GE(resident_free_pages(heap) * kPageSize, kReserve);
  EXPECT_EQ(testing::inconsistency(), "");
}

std::size_t populated = 0;

long populate_100_mib(long number, long, long bytes, long advice, long) {
  if (number != SYS_madvise || advice != MADV_POPULATE_WRITE) return kAskKernel;
  if (populated + static_cast<std::size_t>(bytes) > 100 * kMiB) return -EFAULT;
  populated += static_cast<std::size_t>(bytes);
  return kAskKernel;
}

TEST(PageOptions, ReserveBeyondWhatCanBeTouched) {
  SpanHeap& heap = spans();
  testing::stand_in(populate_100_mib);
  EXPECT_FALSE(reserve::fill(heap, kReserve));
  EXPECT_EQ(reserve::facts().touched_bytes, 100 * kMiB);
  EXPECT_GE(reserve::facts().obtained_bytes, 100 * kMiB);
  EXPECT_EQ(testing::inconsistency(), "");
}

std::size_t mapped = 0;

long map_80_mib(long number, long, long bytes, long, long) {
  if (number != SYS_mmap) return kAskKernel;
  if (mapped + static_cast<std::size_t>(bytes) > 80 * kMiB) return -ENOMEM;
  mapped += static_cast<std::size_t>(bytes);
  return kAskKernel;
}

TEST(PageOptions, ReserveBeyondWhatTheSystemMaps) {
  SpanHeap& heap = spans();
  testing::stand_in(map_80_mib);
  EXPECT_FALSE(reserve::fill(heap, kReserve));
  EXPECT_GE(reserve::facts().obtained_bytes, 60 * kMiB);
  EXPECT_LE(reserve::facts().obtained_bytes, 80 * kMiB);
  EXPECT_EQ(reserve::facts().touched_bytes, reserve::facts().obtained_bytes);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(PageOptions, ReserveBeyondTheBudget) {
  SpanHeap& heap = spans();
  process_account.set_limits(64 * kMiB, kNoLimit);
  EXPECT_FALSE(reserve::fill(heap, kReserve));
  EXPECT_GE(reserve::facts().touched_bytes, 60 * kMiB);
  EXPECT_LE(process_account.peak(), 64 * kMiB);
  EXPECT_EQ(testing::inconsistency(), "");
}

std::size_t locked_by_the_kernel() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmLck:")) return std::stoul(line.substr(6)) * 1024;
  return 0;
}

void expect_all_locked() {
  const locking::Facts facts = locking::facts();
  EXPECT_EQ(facts.asked_bytes, pages::mapped_bytes());
  EXPECT_EQ(facts.obtained_bytes, facts.asked_bytes);
  EXPECT_EQ(facts.refusals, 0u);
  EXPECT_EQ(locked_by_the_kernel(), facts.obtained_bytes);
}

// Whether this process may lock as much as the tests do.
bool begin_locking() {
  testing::start_heap();
  locking::begin();
  return locking::facts().refusals == 0;
}

TEST(PageOptions, LocksFollowTheHeap) {
  if (!begin_locking()) GTEST_SKIP() << "this user may not lock memory";
  SpanHeap& heap = spans();
  expect_all_locked();
  const UnitIndex large = take_dirty(heap, 3000);
  expect_all_locked();

  // Moved pages are locked at both ends.
  const Address object = large::allocate(heap, 10 * kMiB, kPageSize, large::Contents::kAny);
  ASSERT_NE(object, 0u);
  std::memset(reinterpret_cast<void*>(object), 'm', 10 * kMiB);
  const Address moved = large::grow_by_moving_pages(heap, static_cast<UnitIndex>(unit_of(reinterpret_cast<void*>(object))), 11 * kMiB);
  ASSERT_NE(moved, 0u);
  EXPECT_EQ(reinterpret_cast<char*>(moved)[10 * kMiB - 1], 'm');
  expect_all_locked();

  // Given back, and healed where it was patched.
  EXPECT_TRUE(large::deallocate(heap, reinterpret_cast<void*>(moved)));
  heap.give_back(large, {3000});
  EXPECT_GE(heap.purge(SpanHeap::Purge::kEverything), 3000 * kUnitSize);
  EXPECT_EQ(*byte_at(large), 0);
  expect_all_locked();
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(PageOptions, LockedPagesArePurgedByOldKernels) {
  if (!begin_locking()) GTEST_SKIP() << "this user may not lock memory";
  SpanHeap& heap = spans();
  refused_advice = MADV_DONTNEED_LOCKED;
  testing::stand_in(note_advice);
  const UnitIndex first = take_dirty(heap, 64);
  heap.give_back(first, {64});
  EXPECT_GE(heap.purge(SpanHeap::Purge::kEverything), 64 * kUnitSize);
  EXPECT_GE(advised[MADV_DONTNEED], 64 * kUnitSize);
  for (std::size_t offset = 0; offset < 64 * kUnitSize; offset += kPageSize) ASSERT_EQ(byte_at(first)[offset], 0);
  expect_all_locked();
  EXPECT_EQ(testing::inconsistency(), "");
}

std::size_t locked = 0;

long lock_40_mib(long number, long, long bytes, long, long) {
  if (number != SYS_mlock2) return kAskKernel;
  if (locked + static_cast<std::size_t>(bytes) > 40 * kMiB) return -ENOMEM;
  locked += static_cast<std::size_t>(bytes);
  return 0;
}

TEST(PageOptions, LocksAsMuchAsIsAllowed) {
  testing::stand_in(lock_40_mib);
  SpanHeap& heap = spans();
  locking::begin();
  const UnitIndex large = take_dirty(heap, 3000);
  EXPECT_EQ(locking::facts().asked_bytes, pages::mapped_bytes());
  EXPECT_EQ(locking::facts().obtained_bytes, locked);
  EXPECT_GT(locked, 36 * kMiB) << "what the limit left was used, region by region";
  EXPECT_GE(locking::facts().refusals, 1u);
  heap.give_back(large, {3000});
  EXPECT_GE(heap.purge(SpanHeap::Purge::kEverything), 3000 * kUnitSize);
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(PageOptions, LocksThatAreLostAreNotCounted) {
  if (!begin_locking()) GTEST_SKIP() << "this user may not lock memory";
  SpanHeap& heap = spans();
  const Address object = large::allocate(heap, 10 * kMiB, kPageSize, large::Contents::kAny);
  const std::uint64_t before = locking::facts().obtained_bytes;
  locked = 40 * kMiB;  // no more
  testing::stand_in(lock_40_mib);
  EXPECT_NE(large::grow_by_moving_pages(heap, static_cast<UnitIndex>(unit_of(reinterpret_cast<void*>(object))), 11 * kMiB), 0u);
  EXPECT_LE(locking::facts().obtained_bytes, before - 10 * kMiB);
  EXPECT_LE(locking::facts().obtained_bytes, locked_by_the_kernel());
  EXPECT_GE(locking::facts().refusals, 1u);
}

TEST(PageOptions, AChildHoldsNoLocks) {
  if (!begin_locking()) GTEST_SKIP() << "this user may not lock memory";
  const pid_t child = fork();
  if (child == 0) {
    locking::end_in_child();
    const UnitIndex first = take_dirty(spans(), 3000);
    spans().give_back(first, {3000});
    const bool is_purged = spans().purge(SpanHeap::Purge::kEverything) >= 3000 * kUnitSize;
    const locking::Facts facts = locking::facts();
    _exit(is_purged && facts.asked_bytes == 0 && facts.obtained_bytes == 0 && locked_by_the_kernel() == 0 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

// A pool of huge pages, made of ordinary ones. What is done to its memory that a real pool would refuse, or not survive, is noted.
struct Pool {
  std::size_t regions = 0;  // left
  std::size_t mapped = 0;
  bool populates = true;
  std::vector<std::pair<long, long>> given = {};  // begin and end
  std::string misuse = {};
};
Pool pool;

long with_pool(long number, long a, long b, long c, long d) {
  if (number == SYS_mmap && (d & MAP_HUGETLB) != 0) {
    if (static_cast<std::size_t>(b) > pool.regions * kRegionSize) return -ENOMEM;
    if (a % static_cast<long>(kRegionSize) != 0 || b % static_cast<long>(kRegionSize) != 0) return -EINVAL;
    pool.regions -= static_cast<std::size_t>(b) / kRegionSize;
    pool.mapped += static_cast<std::size_t>(b);
    pool.given.emplace_back(a, a + b);
    constexpr long kSizes = 0x3fL << MAP_HUGE_SHIFT;
    return testing::enter_kernel(SYS_mmap, a, b, c, d & ~(MAP_HUGETLB | kSizes), -1, 0);
  }
  for (const auto& [begin, end] : pool.given) {
    if (a >= end || a + b <= begin) continue;
    if (number == SYS_munmap) pool.mapped -= static_cast<std::size_t>(b);
    if (number == SYS_madvise && c == MADV_POPULATE_WRITE && !pool.populates) return -EFAULT;
    if ((number == SYS_madvise && c != MADV_POPULATE_WRITE) || number == SYS_mremap)
      pool.misuse += "call " + std::to_string(number) + " with " + std::to_string(c) + "; ";
  }
  return kAskKernel;
}

bool is_of_pool(UnitIndex unit) { return region_at(region_of(unit)).is_huge_tlb; }

SpanHeap& spans_with_pool(std::size_t regions) {
  SpanHeap& heap = spans();
  pool.regions = regions;
  page_policy.uses_huge_tlb = true;
  testing::stand_in(with_pool);
  return heap;
}

TEST(PageOptions, HugeTlbInTheSmallestStep) {
  SpanHeap& heap = spans_with_pool(100);
  const UnitIndex rest = take_dirty(heap, 40);  // more than is left of the first regions
  ASSERT_TRUE(is_of_pool(rest));
  EXPECT_EQ(pool.mapped, 2 * kRegionSize);
  const std::uint64_t committed = process_account.committed();
  const UnitIndex more = heap.take({20}, {1});
  ASSERT_NE(more, kNoUnit);

  // Whole regions are charged when they are mapped, and commit asks for nothing more.
  const UnitIndex large = heap.take({330}, {1});
  ASSERT_TRUE(is_of_pool(large));
  EXPECT_EQ(pool.mapped, 13 * kRegionSize);
  EXPECT_GE(process_account.committed(), committed + 11 * kRegionSize);
  const std::uint64_t charged = process_account.committed();
  EXPECT_TRUE(pages::commit({first_page_of(large), {330 * kPagesPerUnit}}));
  EXPECT_EQ(process_account.committed(), charged);
  EXPECT_EQ(heap.facts().huge_tlb.regions, 13u);
  EXPECT_EQ(heap.facts().huge_tlb.refusals, 0u);

  // Free, it stays: whoever purges, and whatever the policy.
  std::memset(byte_at(large), 'h', 330 * kUnitSize);
  heap.give_back(large, {330});
  heap.give_back(rest, {40});
  page_policy.purge = config::PagePolicy::Purge::kNow;
  heap.purge(SpanHeap::Purge::kIdle);
  heap.purge(SpanHeap::Purge::kEverything);
  EXPECT_GE(process_account.committed(), 13 * kRegionSize);
  EXPECT_EQ(pool.misuse, "");

  // It is used again, and known not to be zero.
  EXPECT_EQ(heap.take({330}, {1}), large);
  EXPECT_EQ(pool.mapped, 13 * kRegionSize);
  pages::clear_committed({first_page_of(large), {330 * kPagesPerUnit}});
  for (std::size_t offset = 0; offset < 330 * kUnitSize; offset += kPageSize) ASSERT_EQ(byte_at(large)[offset], 0);
  heap.give_back(large, {330});
  heap.give_back(more, {20});
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(PageOptions, HugeTlbFallsBackToPages) {
  SpanHeap& heap = spans_with_pool(3);
  const UnitIndex from_pool = take_dirty(heap, 90);
  ASSERT_TRUE(is_of_pool(from_pool));
  const UnitIndex ordinary = take_dirty(heap, 90);
  EXPECT_FALSE(is_of_pool(ordinary));
  EXPECT_EQ(heap.facts().huge_tlb.asked_regions, 6u);
  EXPECT_EQ(heap.facts().huge_tlb.regions, 3u);
  EXPECT_EQ(heap.facts().huge_tlb.refusals, 1u);
  heap.give_back(from_pool, {90});
  heap.give_back(ordinary, {90});
  EXPECT_GE(heap.purge(SpanHeap::Purge::kEverything), 90 * kUnitSize);
  EXPECT_EQ(pool.misuse, "");
  EXPECT_EQ(testing::inconsistency(), "");
}

// Of another node, say, or of a control group's limit: it would be a SIGBUS in the program.
TEST(PageOptions, HugeTlbThatCannotBeTouchedIsLeft) {
  SpanHeap& heap = spans_with_pool(100);
  pool.populates = false;
  const std::uint64_t mapped_before = pages::mapped_bytes();
  const UnitIndex ordinary = take_dirty(heap, 90);
  EXPECT_FALSE(is_of_pool(ordinary));
  EXPECT_EQ(pool.mapped, 0u);
  EXPECT_GE(pages::mapped_bytes(), mapped_before);
  EXPECT_EQ(heap.facts().huge_tlb.refusals, 1u);
  heap.give_back(ordinary, {90});
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(PageOptions, HugeTlbWithinTheBudget) {
  SpanHeap& heap = spans_with_pool(1000);
  process_account.set_limits(32 * kMiB, kNoLimit);
  refused_by = nullptr;
  std::vector<UnitIndex> taken;
  for (int i = 0; i < 16; ++i) {
    const UnitIndex first = heap.take({31}, {1});
    if (first == kNoUnit) break;
    if (!pages::commit({first_page_of(first), {31 * kPagesPerUnit}})) {
      heap.give_back(first, {31});
      break;
    }
    EXPECT_EQ(refused_by, nullptr) << "a huge page that does not fit refuses nothing yet";
    taken.push_back(first);
  }
  EXPECT_GE(taken.size(), 13u);
  EXPECT_LE(process_account.peak(), 32 * kMiB);
  EXPECT_EQ(refused_by, &process_account);
  for (const UnitIndex first : taken) heap.give_back(first, {31});
  EXPECT_EQ(testing::inconsistency(), "");
}

// The facade over such memory: contents survive growth by copying, and the books agree.
TEST(PageOptions, HugeTlbUnderAWorkload) {
  spans_with_pool(40);
  testing::Random random(5);
  struct Held {
    void* object;
    std::size_t size;
  };
  std::vector<Held> held;
  for (int i = 0; i < 4000; ++i) {
    const std::uint64_t choice = random.below(10);
    if (choice < 5 || held.empty()) {
      const std::size_t size = 1 + random.size();
      char* const object = static_cast<char*>(choice == 0 ? heap::allocate_zeroed(size) : heap::allocate(size));
      ASSERT_NE(object, nullptr);
      if (choice == 0) {
        ASSERT_EQ(std::count(object, object + size, 0), static_cast<long>(size));
      }
      testing::fill_as(object, size, size);
      held.push_back({object, size});
      continue;
    }
    Held& each = held[random.below(held.size())];
    ASSERT_TRUE(testing::is_filled_as(each.object, each.size, each.size));
    if (choice < 7) {
      const std::size_t size = each.size + random.below(300 * kKiB);
      each.object = heap::reallocate(each.object, size);
      ASSERT_TRUE(testing::is_filled_as(each.object, each.size - each.size % 8, each.size));
      each.size = size;
      testing::fill_as(each.object, size, size);
    } else {
      heap::deallocate(each.object, "free");
      each = held.back();
      held.pop_back();
    }
    if (i % 400 == 0) heap::trim();
  }
  EXPECT_GE(pool.given.size(), 10u);
  EXPECT_EQ(pool.misuse, "");
  for (const Held& each : held) heap::deallocate(each.object, "free");
  heap::trim();
  EXPECT_EQ(testing::inconsistency(), "");
}

TEST(PageOptions, HugeTlbHoldsTheReserve) {
  SpanHeap& heap = spans_with_pool(20);
  EXPECT_TRUE(reserve::fill(heap, 64 * kMiB));
  EXPECT_EQ(pool.regions, 0u) << "what the pool has, and the rest in pages";
  page_policy.purge = config::PagePolicy::Purge::kNow;
  heap.purge(SpanHeap::Purge::kIdle);
  EXPECT_GE(committed_pages(heap) * kPageSize, 64 * kMiB);
  const UnitIndex first = take_dirty(heap, 2000);
  heap.give_back(first, {2000});
  heap.purge(SpanHeap::Purge::kIdle);
  EXPECT_GE(committed_pages(heap) * kPageSize, 64 * kMiB);
  EXPECT_LE(committed_pages(heap) * kPageSize, 70 * kMiB);
  EXPECT_EQ(pool.misuse, "");
  EXPECT_EQ(testing::inconsistency(), "");
}

std::atomic<bool> is_in_kernel{false};
std::atomic<bool> may_leave{false};
std::atomic<bool> has_left{false};

// The first purge takes until it may end, and a little longer.
long purge_slowly(long number, long, long, long advice, long) {
  if (number != SYS_madvise || advice != MADV_DONTNEED || is_in_kernel.exchange(true)) return kAskKernel;
  while (!may_leave) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  has_left = true;
  return kAskKernel;
}

// Else a request would be refused although memory for it is on its way back.
TEST(PageOptions, WhoNeedsPagesWaitsForWhoPurgesThem) {
  testing::start_heap();
  const SizeClass c = size_class(class_index_for(kKiB));
  const auto shard = static_cast<NodeHeap::Shard>(0);
  NodeHeap::open(shard);
  std::vector<void*> slots(slots_per_slab(c));
  ASSERT_EQ(node_heap.refill(c, slots.data() + slots.size(), slots_per_slab(c), slots_per_slab(c), NodeHeap::Source::kSlabsOnly, shard),
            slots.size());
  node_heap.flush(c, slots.data() + 1, slots_per_slab(c) - 1, NodeHeap::Source::kSlabsOnly, "free");
  testing::stand_in(purge_slowly);
  const auto purge = [] { return NodeHeap::purge_slab_pages(~std::size_t{0}, [](HeapId, const Account*) { return true; }, nullptr); };
  std::size_t by_first = 0;
  std::thread first([&] { by_first = purge(); });
  while (!is_in_kernel) std::this_thread::yield();
  UnitIndex unit = 0;
  std::size_t purged = 0;
  while (!NodeHeap::purge_quiet_slabs(unit, purged)) EXPECT_EQ(purged, 0u);
  EXPECT_FALSE(has_left) << "a look does not wait";
  may_leave = true;
  EXPECT_EQ(purge(), 0u);
  EXPECT_TRUE(has_left);
  first.join();
  EXPECT_EQ(by_first, 15 * kPageSize);
  testing::stand_in(nullptr);
}

long refuse_to_map(long number, long, long, long, long) { return number == SYS_mmap ? -ENOMEM : testing::kAskKernel; }

long map_slowly(long number, long, long, long, long) {
  if (number == SYS_mmap) ::usleep(100'000);
  return testing::kAskKernel;
}

// While one thread grows the heap many others come to want a slab of the same class. The first one's serves them all: before, each took one
// of its own when the growth was over, a thousand threads one huge page after the other (`hazard many_threads`, 1 run in 30).
TEST(PageOptions, ThreadsThatWaitForGrowthShareASlab) {
  spans();
  constexpr SizeClass kClass = size_class(5);
  constexpr unsigned kThreads = 16;
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      EXPECT_NE(heap::allocate(16), nullptr);  // so it has a heap of its own
      ready.fetch_add(1);
      while (!go.load()) std::this_thread::yield();
      EXPECT_NE(heap::allocate(slot_size(kClass)), nullptr);
    });
  }
  while (ready.load() < kThreads) std::this_thread::yield();
  testing::stand_in(refuse_to_map);
  while (heap::allocate(kUnitSize) != nullptr) {
  }
  ASSERT_EQ(node_heap.facts(kClass).slabs, 0u);
  testing::stand_in(map_slowly);
  go.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(node_heap.facts(kClass).slabs, 1u);
  EXPECT_LE(node_heap.facts(kClass).slabs, 2u) << "one for each shard, on two processors";
  EXPECT_EQ(testing::inconsistency(), "");
}

}  // namespace
}  // namespace nebula
