// The bump route: a thread hands out objects of mixed sizes from its current block, each where the one before ends. Freeing the
// last one moves the mark back, over what was free before it too; a block without a live object is used again from its start.
// A block that is full is left: nobody has it, and whoever frees its last object gives it back, whichever thread that is.
//
// The owner's steps take no lock, but for frees once pages of his block were given back. One store of `word` commits an allocation or a rewind, so a snapshot of memory (fork) has
// each whole or not at all, but for bits at and behind the mark, which adopt() puts right. Both run inside SlowPath, so that a
// signal handler never meets them halfway. What changes pages or blocks runs under the thread heap's gate.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "bump/block.hpp"
#include "budget/account.hpp"

namespace nebula::bump {

inline constexpr unsigned kMarkBits = 20;
inline constexpr std::uint64_t kMarkMask = (std::uint64_t{1} << kMarkBits) - 1;
static_assert(kUnitsMost * kGranulesPerUnit <= kMarkMask);

// A thread's part; all zeros before its first block. Written by the owner alone; others read the counts.
struct Mine {
  std::atomic<std::uint64_t> word;     // the mark, in granules, and above it the objects allocated ever
  Address start;                       // of the block
  Word* starts;                        // of the block
  std::uint32_t ready;                 // as far as granules are committed; 0 without a block
  std::uint32_t end;                   // the block's last granule, which only the mark may reach
  UnitIndex head;                      // kNoUnit: none
  std::uint32_t own_frees;             // of objects of this block, by this thread
  std::uint64_t allocations_before;    // this block
  std::atomic<std::uint64_t> bytes;    // allocated ever
  std::atomic<std::uint64_t> rewinds;
  std::atomic<std::uint64_t> reuses;   // blocks used again from their start
  std::atomic<UnitIndex> freeing;      // the block of others in which this thread is just freeing
  std::uint32_t next_units;            // of the next block
  std::uint32_t reclaim_epoch;         // the last one that was answered
  std::uint32_t ticks;                 // with this block
  bool has_holes;                      // pages below `ready` were given back
  std::uint64_t try_again_at;          // coarse milliseconds, after a refusal
};

[[nodiscard]] inline std::uint32_t mark_of(const Mine& mine) {
  return static_cast<std::uint32_t>(mine.word.load(std::memory_order_relaxed) & kMarkMask);
}
[[nodiscard]] inline std::uint64_t allocations_of(const Mine& mine) {
  return mine.word.load(std::memory_order_relaxed) >> kMarkBits;
}

// size above 0, at most kSmallMax. Null when the block has no more room that is ready.
[[nodiscard]] [[gnu::always_inline]] inline void* try_allocate(Mine& mine, std::size_t size) {
  const std::uint64_t granules = (size + kGranule - 1) / kGranule;
  const std::uint64_t word = mine.word.load(std::memory_order_relaxed);
  const std::uint64_t mark = word & kMarkMask;
  const std::uint64_t end = mark + granules;
  if (end > mine.ready) return nullptr;
  // relaxed, as in Block: the object is given to others only after this.
  Word& starts = mine.starts[end / 64];
  starts.store(starts.load(std::memory_order_relaxed) | std::uint64_t{1} << (end % 64), std::memory_order_relaxed);
  mine.bytes.store(mine.bytes.load(std::memory_order_relaxed) + granules * kGranule, std::memory_order_relaxed);
  // release: a snapshot that has the new word has the start.
  mine.word.store(word + (std::uint64_t{1} << kMarkBits) + granules, std::memory_order_release);
  return reinterpret_cast<void*>(mine.start + mark * kGranule);
}

// Makes room and allocates: commits further, uses the block again if nothing in it is alive, or takes another one. Null: the
// limit, the budget or the system refuses; others may serve it. Under the gate. alignment: a power of two, at most a page.
[[nodiscard]] void* allocate(Mine& mine, std::size_t size, std::size_t alignment);
// Whether there is any sense in calling that.
[[nodiscard]] bool may_allocate(const Mine& mine);

enum class Verdict : std::uint8_t {
  kDone,
  kBlockIsDead,  // and nobody's: the caller gives it back
  kDoubleFree,
  kInterior,
  kNoObject,
};
struct Found {
  Verdict verdict = Verdict::kDone;
  UnitIndex head = kNoUnit;
  std::size_t size = 0;    // of the object that the pointer lies in, unless kNoObject
  std::size_t offset = 0;  // in it
};
// The pointer is in a unit whose use is kBump. `mine`: of this thread, or null where it has none. Under the gate if mine->has_holes: a rewind counts then.
[[nodiscard]] Found deallocate(Mine* mine, void* pointer);
// After kBlockIsDead: under the gate.
void end_block(Mine* mine, UnitIndex head);

// What lies at a pointer: kDone where it is an object.
[[nodiscard]] Found look(const void* pointer);
// In place, of the last object of this thread's block. Under the gate. False: nothing changed.
[[nodiscard]] bool resize_last(Mine& mine, void* pointer, std::size_t size);

// Under the gate, all of these. The thread has no block any more.
void leave(Mine& mine);
// Committed pages of the current block that hold nothing alive go back: bytes.
std::size_t trim(Mine& mine);
// Every 100 ms at most; the same for a block that the thread has had for a while.
void tick(Mine& mine);
// In the child of a fork: of a thread that is not here.
void adopt(Mine& mine);
// At their next look for room, other threads trim.
void ask_others_to_trim();

}  // namespace nebula::bump
