// NEBULA_ROUTE=auto: each class above 1 KiB is watched, and one whose new memory another route would hold more tightly is moved
// there, and back when that proves wrong. src/README.md, "Routes", has the rules, route_rules.hpp their arithmetic.
//
// Looking is done on a slow path, every 100 ms at most, under all locks, which are tried and hardly waited for, and with at most
// 1/500 of the time. What it knows of classes is guarded by these locks; which way they come and what is told of it by a lock
// of its own, because a class comes back in the middle of an allocation too: when it is allocated more often than the other route
// is worth.
//
// A route moves no object. What a move changes is where the next new memory of the class comes from: slots that are free
// are used first, and every object is freed and resized by what lies at its address.
#pragma once

#include <cstdint>

#include "heap/route_rules.hpp"

namespace nebula::heap::auto_routes {

using config::Route;

// Once, before other threads exist.
void begin();
// Which way this allocation of a class goes that found its pool empty; counts it.
[[nodiscard]] Route route_for(SizeClass c);
// A look, at a time in coarse milliseconds. False: threads would not pause.
bool look(std::uint64_t now);
// In the child of a fork: whoever held the lock is gone.
void reset_in_child();

enum class Reason : std::uint8_t {
  kTighter,  // objects outlive blocks and take less there than in slots
  kSparse,   // slabs hold twice what pages of their own would
  kBusy,     // allocated too often
  kDearer,   // blocks hold more than slots would
  kSteady,   // the number of objects does not swing
  kEnd,
};
[[nodiscard]] const char* name_of(Reason reason);
[[nodiscard]] const char* name_of(Route route);

struct Move {
  SizeClass c{};
  Route from{};
  Route to{};
  Reason reason{};
  std::uint64_t at = 0;  // coarse milliseconds
  // What was seen since it was last judged; for kBusy only how many were allocated in how long.
  std::uint64_t milliseconds = 0;
  std::uint64_t allocated = 0;
  std::uint64_t freed = 0;
  std::uint64_t live = 0;
  std::uint64_t life_bytes = 0;  // that the class allocates while an object lives; 0: not known
  std::uint64_t held_before = 0;
  std::uint64_t held_after = 0;  // as estimated
};
inline constexpr unsigned kMovesKept = 32;  // the first ones

struct Facts {
  bool are_on = false;
  std::uint64_t looks = 0;
  std::uint64_t missed_looks = 0;  // threads would not pause
  std::uint64_t nanoseconds = 0;   // that looks took
  std::uint64_t away = 0;          // classes
  std::uint64_t moves_to[3] = {};  // by route
  std::uint64_t moves = 0;
  unsigned kept = 0;
  Move kept_moves[kMovesKept];
};
// Leaves them as they begin where no look ever comes. Waits for hardly any time: a report of a crash may come from within. Then the
// parts are of different moments.
void read(Facts& facts);

}  // namespace nebula::heap::auto_routes
