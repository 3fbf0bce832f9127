// A depot: full batches of one class waiting between threads, one compare-and-swap for up to 62 slots.
//
// A stack of records (Treiber 1986) whose head is (tag, index + 1) in one word. Why a thread that slept between reading
// the head and swapping it cannot be fooled (ABA): every successful swap raises the 32-bit tag, and records are never
// unmapped nor used for anything else, so what it read of a record popped meanwhile is a value that is thrown away. The
// argument in full is in src/README.md.
//
// What waits here keeps its slabs from becoming empty, so a depot holds little until it is seen to work: when a thread
// withdraws what another deposited, and the depot has been full since, it wants to hold twice as much, up to 1 MiB of slots
// and an eighth of what its class has outside slabs. A depot that nobody withdraws from is drained and starts again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/units.hpp"
#include "size_class/size_class.hpp"

namespace nebula {

struct alignas(kCacheLine) BatchRecord {
  std::atomic<std::uint32_t> next;  // index + 1 of the record below
  std::uint32_t depositor;  // its thread's token
  void* slots[kBatchMost];
};
static_assert(sizeof(BatchRecord) == 512);

class BatchStack {
 public:
  void push(std::uint32_t record);
  // The index of a record, which is now the caller's alone; kNone when the stack is empty.
  [[nodiscard]] std::uint32_t pop();
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

 private:
  std::atomic<std::uint64_t> head_{0};
};

class alignas(kCacheLine) Depot {
 public:
  // Takes a batch of the class. False when the depot is full or no record is to be had: the slots stay the caller's.
  [[nodiscard]] bool deposit(SizeClass c, void* const* slots);
  // Copies a batch to `end - n … end` and returns n; 0 when there is none or `room` is less than a batch.
  [[nodiscard]] unsigned withdraw(SizeClass c, void** end, unsigned room);

  [[nodiscard]] bool wants_more() const { return wants_more_.load(std::memory_order_relaxed); }
  // Grants that, if twice as much is still at most `bytes`; else it may want again.
  void grow_within(std::uint64_t bytes);
  // After it was found idle.
  void start_again();
  // In the child of a fork that did not wait for anybody: whoever was making records is gone.
  static void reset_in_child();

  struct Facts {
    std::uint64_t batches;  // that wait
    std::uint64_t deposits;
    [[nodiscard]] std::uint64_t withdrawals() const { return deposits - batches; }
  };
  [[nodiscard]] Facts facts() const {
    const std::uint64_t counts = counts_.load(std::memory_order_relaxed);
    return {counts % kOneDeposit, counts / kOneDeposit};
  }
  [[nodiscard]] std::uint64_t slots(SizeClass c) const { return facts().batches * kSizeClasses.batch[index_of(c)]; }

 private:
  static constexpr std::size_t kBytesFirst = 32 * kKiB;
  static constexpr std::size_t kBytesMost = kMiB;

  static constexpr std::uint64_t kOneDeposit = std::uint64_t{1} << 20;

  BatchStack stack_;
  BatchStack spare_records_;  // used before others': those of one depot stay with the threads that meet there
  // Relaxed: two threads that double at once double once or twice; what is not seen now is seen the next time.
  std::atomic<std::uint32_t> doublings_{0};  // of the bytes that it may hold
  std::atomic<bool> was_full_{false};
  std::atomic<bool> wants_more_{false};
  // Batches that wait, and deposits above them: one operation counts both. Relaxed: exact whenever nobody is in between.
  std::atomic<std::uint64_t> counts_{0};
};

}  // namespace nebula
