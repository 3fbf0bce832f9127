// The page of a process: what `nebula top` reads of it, without stopping, signalling or attaching to it.
//
// A file "PROCESS_ID.NAMESPACE" in $XDG_RUNTIME_DIR/nebula or /tmp/nebula-USER_ID, mapped by the process that writes it;
// the namespace is the one in which the process id has its meaning. Everything is a 64-bit word in the order of the machine.
//
//   │ header: who, since when, sequence │ state 0 │ state 1 │
//
// States are written in turn. State `sequence % 2` is whole and stays untouched until the sequence has moved on, so a
// process that is stopped, hung or killed in the middle of writing leaves a whole one behind. A reader takes the
// sequence, copies that state, and has it when the sequence is still the same; else it looks again.
//
// A change of any of these structures is a new kLayoutVersion: a reader refuses what it does not know.
#pragma once

#include <cstddef>
#include <cstdint>

#include "size_class/size_class.hpp"

namespace nebula::live {

inline constexpr std::uint64_t kMagic = 0x6576'696c'7562'656e;  // "nebulive"
inline constexpr std::uint64_t kLayoutVersion = 3;
inline constexpr unsigned kThreadRows = 192;
inline constexpr unsigned kClassRows = kClassEnd - kClassFirst;
inline constexpr unsigned kAccountRows = 96;
inline constexpr unsigned kNodeRows = 64;
inline constexpr std::size_t kNameBytes = 64;

struct ClassRow {
  std::uint64_t slot_bytes;
  std::uint64_t allocations;
  std::uint64_t frees;
  std::uint64_t live;  // slots
  std::uint64_t pooled;
  std::uint64_t in_depots;
  std::uint64_t slabs;
};

struct ThreadRow {
  std::uint64_t thread_id;  // 0: it has not been in a slow path since the page exists
  std::uint64_t allocations;  // of its heap, which other threads may have had before
  std::uint64_t frees;
  std::uint64_t pooled_bytes;
  std::uint64_t refills;
  std::uint64_t flushes;
};

// An account beside the process's, which is in the state itself.
struct AccountRow {
  std::uint64_t kind;             // config::AccountKind
  std::uint64_t number;           // of a node; of a thread its id; of sizes the first
  std::uint64_t last_size;        // of sizes; all bits set: no end
  std::uint64_t has_ended;        // 1: the thread has
  std::uint64_t processes;        // of a tree
  std::uint64_t share_bytes;      // of a tree's: this process's
  std::uint64_t hard_limit;
  std::uint64_t charged_bytes;
  std::uint64_t peak_bytes;
  std::uint64_t limit_hits;
  std::uint64_t refusals;
  char name[kNameBytes];          // of a thread or module; ends with a null
};

// The heap of a node or rule, tenants' heaps there included.
struct NodeRow {
  std::uint64_t committed_bytes;
  std::uint64_t slot_bytes;       // out of slabs: live, in pools, in depots
  std::uint64_t dirty_bytes;
  std::uint64_t returned;         // slots that threads of other heaps freed
  std::uint64_t fallbacks;        // requests that another heap had to meet
  std::uint64_t arrivals;         // threads that came from another heap
  char purpose[kNameBytes];       // "node 2"; ends with a null
};

struct State {
  std::uint64_t written_at_nanoseconds;  // CLOCK_MONOTONIC
  std::uint64_t is_at_rest;              // 1: all numbers are of one moment

  // Live to metadata add up to committed.
  std::uint64_t live_bytes;
  std::uint64_t pooled_bytes;
  std::uint64_t depot_bytes;
  std::uint64_t idle_bytes;  // free in slabs, dead in blocks, and dirty spans
  std::uint64_t metadata_bytes;
  std::uint64_t committed_bytes;
  std::uint64_t mapped_bytes;
  std::uint64_t committed_peak;
  std::uint64_t in_use_peak;

  std::uint64_t hard_limit;  // all bits set: none
  std::uint64_t soft_limit;
  std::uint64_t limit_hits;
  std::uint64_t reclaimed_bytes;
  std::uint64_t refusals;
  std::uint64_t largest_refused;

  std::uint64_t threads_started;
  std::uint64_t threads_now;
  std::uint64_t refills;
  std::uint64_t flushes;
  std::uint64_t lock_waits;
  std::uint64_t purges;
  std::uint64_t purged_bytes;

  std::uint64_t large_allocations;
  std::uint64_t large_frees;
  std::uint64_t large_live_bytes;
  std::uint64_t bump_allocations;  // in blocks; 0 without such a route
  std::uint64_t bump_frees;
  std::uint64_t bump_live_bytes;
  std::uint64_t handler_allocations;  // by signal handlers that interrupted an allocation
  std::uint64_t handler_frees;
  std::uint64_t handler_live_bytes;

  std::uint64_t double_frees;
  std::uint64_t invalid_frees;
  std::uint64_t foreign_pointers;

  std::uint64_t thread_accounts;          // 0: threads have none
  std::uint64_t thread_accounts_charged;  // to all of them; those with most have rows
  std::uint64_t threads_left_out;         // more than there are rows
  ClassRow classes[kClassRows];

  // Of each of these so many rows count.
  std::uint64_t account_rows;
  std::uint64_t node_rows;    // 0: there is one heap
  std::uint64_t thread_rows;  // of threads that are there now
  AccountRow accounts[kAccountRows];
  NodeRow nodes[kNodeRows];
  ThreadRow threads[kThreadRows];
};

struct Header {
  std::uint64_t magic;
  std::uint64_t layout_version;
  std::uint64_t page_bytes;
  std::uint64_t process_id;
  std::uint64_t started_at_nanoseconds;  // CLOCK_MONOTONIC; of a child of fork, when it was made
  char program[kNameBytes];              // ends with a null
  char library_version[kNameBytes];
  std::uint64_t sequence;                // 0: no state yet
};

struct Page {
  Header header;
  State states[2];
};
static_assert(sizeof(Page) % sizeof(std::uint64_t) == 0);

}  // namespace nebula::live
