// One account for a process and all its descendants that carry the preload, in memory that they share.
//
//   header   limit, total, peak, recount      one slot a process: owner (process id, start time), share, in flight
//
// A charge adds to the total by compare-and-swap, so the sum never exceeds the limit, and then to the process's share. A
// process that was killed has given nothing back: whoever finds no room looks for slots whose process is gone and takes their
// shares off the total. `in_flight` counts the threads of a process that are between the two additions; a slot whose process
// died there says nothing exact, and the total is counted anew from all shares, while everybody else waits for `recount`.
//
// What a fork child inherits stays charged to its parent: pages are shared until one of the two writes, and that the kernel
// does not tell. The child is charged for what it commits itself; what it gives back counts against what it inherited first.
//
// The file that holds it has a random name, and the variable NEBULA_TREE tells it to programs that are started. The last
// process that exits removes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nebula::tree {

enum class Joined {
  kCreated,
  kMember,      // of a tree that an ancestor began: its limit holds
  kImpossible,  // no file could be made: there is no account
};
// Once, before there are threads. `known` is the file an ancestor made, empty for none. What this process has committed so far
// is charged, whether there is room or not.
[[nodiscard]] Joined join(std::uint64_t limit, std::string_view known);
// The file, null-terminated; empty without a tree.
[[nodiscard]] std::string_view path();

// Both do nothing without a tree. False when the tree has no room: nothing charged, and refused_by says so.
[[nodiscard]] bool try_charge(std::size_t bytes);
void credit(std::size_t bytes);

// In the child of a fork: it gets a slot of its own.
void note_fork();
// Takes back the shares of processes that are gone; a charge that finds no room does so by itself.
void find_dead();
// At the exit: removes the file when no other process of the tree lives.
void leave();

// What all processes together are charged.
[[nodiscard]] std::uint64_t total();

struct Facts {
  std::uint64_t limit = 0;  // 0: no tree
  std::uint64_t total = 0;
  std::uint64_t peak = 0;
  std::uint64_t share = 0;   // of this process
  std::uint64_t processes = 0;  // that live, or whose end nobody has noticed
  std::uint64_t found_dead = 0;  // processes whose share somebody took back
};
[[nodiscard]] Facts facts();

}  // namespace nebula::tree
