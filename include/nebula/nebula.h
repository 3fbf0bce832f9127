/* Nebula, a drop-in malloc: what a program that knows of it may call. C11 and C++; see nebula.hpp for more C++.
 *
 * Every function is declared weak: a program that uses it links and runs without libnebula.so too, and finds the
 * address null. Call only after checking, for example `if (nebula_version) puts(nebula_version());`. A program that found
 * one function will find all that its header declares, unless the library is older than the header.
 *
 * Unless something else is said, each function may be called by any thread at any time, leaves errno alone, and never
 * throws. A function that returns int returns 0, or a number of <errno.h> that says why nothing has changed; one that
 * returns a pointer returns NULL then. Sizes are in bytes.
 *
 * Structs that may grow begin with `size`, which the caller sets to sizeof the struct. A library that is older than the
 * caller's header sets the fields it does not know to 0, and takes no wish it does not know but 0; one that is newer keeps
 * within `size`. */
#ifndef NEBULA_NEBULA_H
#define NEBULA_NEBULA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Tells which Nebula this is: "major.minor.patch", a constant. Never fails. */
const char *nebula_version(void) __attribute__((weak));

/* Gives the memory that no object uses back to the system, and returns how many bytes that were. It takes from this
 * thread's pools, what waits between threads, and all dirty pages; other threads' pools follow at their next free, and
 * what they held at the next purge. Never fails; 0 when there was nothing, or in a signal handler that interrupted the
 * allocator. Cost: a call to the kernel for each run of pages that is given back, and a page fault for each that is used
 * again. */
size_t nebula_purge(void) __attribute__((weak));

/* Puts the free objects that this thread keeps for its own next allocations where all threads find them: for a thread
 * that will sleep for long. No memory goes back to the system by it. A double free among them is found now. Never
 * fails; nothing happens in a signal handler that interrupted the allocator. Cost: grows with the objects it keeps, and
 * the thread's next allocations of each size are slower once. */
void nebula_thread_flush(void) __attribute__((weak));

/* ---- Statistics ---- */

/* What the process has done with memory. Counts are since the start of the process. */
struct nebula_statistics {
  size_t size;
  uint64_t at_rest;              /* 1: all numbers are of one moment, and the seven in the middle add up exactly */
  uint64_t allocations;          /* calls that gave out an object */
  uint64_t frees;                /* allocations - frees == live_objects */
  uint64_t live_objects;
  uint64_t live_bytes;           /* at the size of their slots and pages; this and the next five add up */
  uint64_t pooled_bytes;         /* free slots that threads keep for their next allocations */
  uint64_t depot_bytes;          /* free slots on their way from threads that free to threads that allocate */
  uint64_t slab_free_bytes;      /* free slots in memory that is cut into slots, dead memory in bump blocks */
  uint64_t dirty_bytes;          /* pages that no object uses and that have not been given back */
  uint64_t metadata_bytes;       /* Nebula's own tables */
  uint64_t committed_bytes;      /* the sum: what the budget counts */
  uint64_t committed_peak_bytes; /* the most it ever was */
  uint64_t mapped_bytes;         /* of address space; committed or not */
  uint64_t large_objects;        /* of live_objects: those above 32 KiB */
  uint64_t large_bytes;          /* of live_bytes */
  uint64_t purges;               /* times that pages were given back to the system */
  uint64_t purged_bytes;
  uint64_t budget_refusals;      /* requests that the process's budget left no room for */
  uint64_t system_refusals;      /* requests that the system refused memory for */
  uint64_t double_frees;         /* found; they end the process unless NEBULA_ON_MISUSE=warn */
  uint64_t invalid_frees;        /* likewise, of what is no object */
  uint64_t foreign_pointers;     /* frees of pointers that are another allocator's */
};

/* Fills in the numbers as they are now, for `statistics->size` bytes. EINVAL: the pointer is NULL, or the size is not that of
 * at least the first field behind it; EAGAIN: in a signal handler that interrupted this very function, or other threads
 * were in it for a second. Waits for other threads that are in it, never for a report that is being written. Cost: holds the
 * allocator's slow paths still while it walks the heap: some microseconds for each MiB in use. */
int nebula_statistics_take(struct nebula_statistics *statistics) __attribute__((weak));

/* What changed from one to the other: each field is that of `after` less that of `before`. */
struct nebula_statistics_difference {
  size_t size;
  int64_t at_rest; /* 1: both were */
  int64_t allocations;
  int64_t frees;
  int64_t live_objects;
  int64_t live_bytes;
  int64_t pooled_bytes;
  int64_t depot_bytes;
  int64_t slab_free_bytes;
  int64_t dirty_bytes;
  int64_t metadata_bytes;
  int64_t committed_bytes;
  int64_t committed_peak_bytes;
  int64_t mapped_bytes;
  int64_t large_objects;
  int64_t large_bytes;
  int64_t purges;
  int64_t purged_bytes;
  int64_t budget_refusals;
  int64_t system_refusals;
  int64_t double_frees;
  int64_t invalid_frees;
  int64_t foreign_pointers;
};

/* Fills in what changed between two statistics, for `difference->size` bytes; fields that one of the two is too short for are 0.
 * EINVAL: a pointer is NULL, or a size is not that of at least the first field behind it. Reads and writes nothing but its
 * arguments. */
int nebula_statistics_diff(const struct nebula_statistics *before, const struct nebula_statistics *after,
                           struct nebula_statistics_difference *difference) __attribute__((weak));

/* ---- The budget of the process ---- */

/* No limit. */
#define NEBULA_NO_LIMIT UINT64_MAX

struct nebula_budget {
  size_t size;
  uint64_t limit_bytes;      /* NEBULA_NO_LIMIT: none */
  uint64_t soft_limit_bytes; /* the same */
  uint64_t reserve_bytes;    /* the last part of the limit, which only requests up to 1 KiB may use; 0 without a limit */
  uint64_t committed_bytes;  /* what is charged now */
  uint64_t peak_bytes;       /* the most that ever was */
  uint64_t refusals;         /* requests that it left no room for */
  uint64_t largest_refused_bytes;
};

/* Sets the limits on the memory of this process, whatever NEBULA_BUDGET and NEBULA_BUDGET_SOFT say, from this call on. Above the
 * soft limit memory is given back that no object uses; the hard limit is never exceeded: a request that it leaves no room
 * for is refused after everything free was given back (or as NEBULA_BUDGET_ACTION says). More may be in use already: that stays,
 * everything free goes back now, and requests are refused until enough has been freed. EINVAL: the limit is 0, or the soft one
 * is, or the soft one is above a hard one; EAGAIN: in a signal handler that interrupted the allocator. Of threads that call this
 * at the same time, one has the last word for both limits. Cost: that of nebula_purge where more is committed, else little. */
int nebula_budget_set(uint64_t limit_bytes, uint64_t soft_limit_bytes) __attribute__((weak));

/* Fills in the limits and what is charged, for `budget->size` bytes. EINVAL: the pointer is NULL, or the size is not that of at
 * least the first field behind it. Safe in signal handlers. Cost: a few loads; each number is exact, but of a moment of its
 * own while other threads allocate. */
int nebula_budget_get(struct nebula_budget *budget) __attribute__((weak));

/* Sets how much of the budget's last part is kept for requests up to 1 KiB, as NEBULA_BUDGET_RESERVE does (64 KiB without it), so
 * that a program whose large request was refused can unwind and say so. At most an eighth of the limit is kept, whatever was
 * asked for. Never fails and always returns 0. To make sure of memory for a piece of work, see nebula_arena_reserve. */
int nebula_budget_reserve(uint64_t bytes) __attribute__((weak));

#ifdef __cplusplus
}
#endif

#endif
