// Which way a size class should come, by what was seen of it: arithmetic alone, no state, so that each rule can be tested with
// numbers. src/README.md, "Routes", has the reasons; auto_routes.hpp does the seeing and the moving.
#pragma once

#include <cstdint>

#include "base/units.hpp"
#include "bump/block.hpp"
#include "config/routes.hpp"
#include "size_class/size_class.hpp"

namespace nebula::heap::route_rules {

using config::Route;

// Up to 1 KiB blocks have no finer steps than slots, and such classes are the ones that are allocated most.
inline constexpr unsigned kFirstWatched = class_index_for(kFineMax + 1);

// What a detour costs beside a pool, and the time that all those of one class may take together.
inline constexpr std::uint64_t kBumpNanoseconds = 150;  // 450 instructions a pair, by callgrind
inline constexpr std::uint64_t kNodeNanoseconds = 5000;  // two locks, a span, and now and then its page faults
inline constexpr std::uint64_t kTimeShare = 400;        // one part in so many
inline constexpr std::uint64_t kAllowanceMilliseconds = 100;
inline constexpr unsigned kAwayMost = 4;    // classes that are away at a time: a hundredth of the time, altogether
inline constexpr unsigned kLeavesMost = 2;  // times that a class may leave the pools

inline constexpr std::uint64_t kJudgedAllocations = 128;  // a window is as long as it takes to see so many
inline constexpr std::uint64_t kRequestsLeast = 8;        // known, for a mean
inline constexpr unsigned kTighterWindows = 2;            // in a row, before a class goes to blocks
inline constexpr unsigned kSparseLooks = 10;              // in a row, before one gets spans, and before it loses them
inline constexpr unsigned kDearerLooks = 2;               // in a row, before classes leave the blocks

inline constexpr std::uint64_t kLookMilliseconds = 100;    // from one look to the next at least
inline constexpr std::uint64_t kTimeOfLooks = 500;         // one part in so many
inline constexpr std::uint64_t kSurpriseNanoseconds = 100'000;

// A class on the pool route since it was last judged.
struct Seen {
  SizeClass c{};
  std::uint64_t live = 0;        // objects, now
  std::uint64_t held_bytes = 0;  // committed by its slabs, now
  std::uint64_t allocated = 0;   // objects
  std::uint64_t freed = 0;
  std::uint64_t milliseconds = 0;
  std::uint64_t fastest = 0;     // the most that were allocated in kAllowanceMilliseconds, from look to look
  std::uint64_t mean_size = 0;   // that was asked for; 0: too few requests are known
};

// How many milliseconds to the next look, after one that took so long. `known` is what a look at this heap takes, in nanoseconds: one that
// took more than twice as long was interrupted by the system, and would put off the next by five seconds for ten
// milliseconds. A heap that has grown is known after a few looks.
[[nodiscard]] constexpr std::uint64_t rest_after(std::uint64_t took, std::uint64_t& known) {
  const std::uint64_t most = 2 * known + kSurpriseNanoseconds;
  known = took < most ? took : most;
  const std::uint64_t rest = known * kTimeOfLooks / 1'000'000;
  return rest > kLookMilliseconds ? rest : kLookMilliseconds;
}

// How many allocations of a class that is away may come in kAllowanceMilliseconds.
[[nodiscard]] constexpr std::uint32_t allowance(Route route) {
  return static_cast<std::uint32_t>(kAllowanceMilliseconds * 1'000'000 / kTimeShare /
                                    (route == Route::kBump ? kBumpNanoseconds : kNodeNanoseconds));
}
// Half of that, so that a class that leaves does not come back for being a little faster next time.
[[nodiscard]] constexpr bool is_slow_enough(std::uint64_t rate, Route route) { return rate <= allowance(route) / 2; }

// Bytes that the class allocates while an object lives: live objects times the allocations for each free. At least that when
// none was freed.
[[nodiscard]] std::uint64_t life_bytes(const Seen& seen);

// What the live objects would hold in blocks, and with pages of their own.
[[nodiscard]] std::uint64_t bytes_in_blocks(const Seen& seen);
[[nodiscard]] constexpr std::uint64_t bytes_as_spans(SizeClass c, std::uint64_t objects) {
  return objects * (pages_for(slot_size(c)).bytes() + kUnitRecordBytes);
}

// Whether blocks would hold so much less than slots that it is worth a move. committed_bytes: of the process.
[[nodiscard]] bool is_tighter_in_blocks(const Seen& seen, std::uint64_t committed_bytes);

// Only classes that lose little by it may have pages of their own.
[[nodiscard]] constexpr bool may_be_spans(SizeClass c) {
  return slot_size(c) > 8 * kKiB && bytes_as_spans(c, 16) <= 17 * slot_size(c);
}
// Whether the class holds twice what its objects would need as spans, and that is worth a move.
[[nodiscard]] bool is_sparse(const Seen& seen, std::uint64_t committed_bytes);

// Objects that have pages of their own, over some looks: whether slots for the most of them would have held less than they did.
struct Swing {
  std::uint64_t sum = 0;
  std::uint64_t most = 0;
  std::uint64_t looks = 0;
  void add(std::uint64_t objects);
};
[[nodiscard]] bool is_steady(SizeClass c, const Swing& swing);

// Whether blocks hold more than slots for the same objects would at best. block_bytes are committed; threads: that may each have
// a block, committed some pages ahead.
[[nodiscard]] bool are_blocks_dearer(std::uint64_t block_bytes, std::uint64_t slot_bytes, std::uint64_t threads);

}  // namespace nebula::heap::route_rules
