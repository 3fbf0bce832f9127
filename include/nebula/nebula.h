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
 * thread's pools, what waits between threads, all dirty pages, and those between objects that hold none; other
 * threads' pools follow at their next free, and what they held at the next purge. Never fails; 0 when there was
 * nothing, or in a signal handler that interrupted the allocator. Cost: a call to the kernel for each run of pages
 * that is given back, and a page fault for each that is used again. */
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
 * allocator's slow paths still while it looks at every thread and size class. */
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

/* ---- Events ---- */

/* Whose limit it is. */
enum nebula_account {
  NEBULA_ACCOUNT_PROCESS = 0,
  NEBULA_ACCOUNT_TREE = 1,
  NEBULA_ACCOUNT_NODE = 2,
  NEBULA_ACCOUNT_THREAD = 3,
  NEBULA_ACCOUNT_SIZE = 4,
  NEBULA_ACCOUNT_MODULE = 5,
  NEBULA_ACCOUNT_SYSTEM = 100 /* no account: the system refused */
};

/* Why memory was given back. */
enum nebula_reason {
  NEBULA_REASON_NONE = 0,
  NEBULA_REASON_CALL = 1,       /* nebula_purge, malloc_trim, nebula_budget_set */
  NEBULA_REASON_IDLE = 2,       /* nobody had used it for a while */
  NEBULA_REASON_SOFT_LIMIT = 3, /* more was committed */
  NEBULA_REASON_HARD_LIMIT = 4, /* a request found no room */
  NEBULA_REASON_SYSTEM = 5,     /* the system refused a request */
  NEBULA_REASON_PRESSURE = 6    /* the machine or the control group is short of memory (NEBULA_PRESSURE) */
};

/* What has happened. What does not belong to the event is 0. */
struct nebula_event {
  size_t size;              /* of the struct that this library fills; a field behind it is not there */
  uint32_t account;         /* enum nebula_account */
  uint32_t reason;          /* enum nebula_reason, of a purge */
  const char *account_name; /* in words, constants: "process", "tree", "node", "thread", "size", "module", "system" */
  const char *reason_name;  /* "call", "idle", "soft limit", "hard limit", "system", "pressure"; "none" */
  uint64_t charged_bytes;   /* to the account, about now */
  uint64_t limit_bytes;     /* that was crossed, or left no room */
  uint64_t requested_bytes; /* of a refusal: what the program asked for */
  uint64_t purged_bytes;    /* of a purge: since the last one with this reason that was told */
};

/* Who wants to be told, and of what: a NULL callback is not called. A callback is called by the thread that comes upon the event,
 * with no lock of Nebula held, before the call returns that it was made in: it may allocate, free and call any function of this
 * header. It must not throw nor leave by longjmp. Refusals and purges within a callback
 * are not told, limits that are crossed in it after it; errno is as before. Several threads may be in a callback at the same time. */
struct nebula_monitor {
  size_t size;
  void *context; /* the callbacks' first argument */
  void (*soft_limit)(void *context, const struct nebula_event *event); /* crossed; again after it fell to 95 % */
  void (*hard_limit)(void *context, const struct nebula_event *event); /* met; the same */
  void (*refusal)(void *context, const struct nebula_event *event);    /* a request is refused, after all reclaim was in vain */
  void (*purge)(void *context, const struct nebula_event *event);      /* memory was given back; told by the next slow allocation */
};

/* Tells events to this monitor from now on. The struct is not copied: it has to stay as it is until it is removed. In the child of
 * a fork it is there too. EINVAL: NULL, a size with no room for a callback, or a callback that this library does not know;
 * EEXIST: it is there already; ENOSPC: eight are. Cost: an event calls each monitor; nothing while nothing happens. */
int nebula_monitor_add(const struct nebula_monitor *monitor) __attribute__((weak));

/* Tells no more events to it, and waits until no other thread is in one of its callbacks: then it may go. Called in a callback, of
 * whichever monitor, it does not wait. ENOENT: it is not there. */
int nebula_monitor_remove(const struct nebula_monitor *monitor) __attribute__((weak));

/* ---- Arenas, heaps, pools and stacks ---- */

/* Memory of the program's own that is freed as a whole: an arena goes back to checkpoints, a heap also frees single objects of any
 * size, a pool objects of one size, a stack frame by frame. All of them are made of large objects of the ordinary allocator: what
 * they hold counts in budgets and statistics, and is refused like any other request.
 *
 * Each is for one thread at a time: calls for the same one must not overlap, calls for different ones may. None is for signal
 * handlers. An object is aligned to 16 bytes at least; one of 0 bytes has an address of its own. Objects are not for free() and
 * realloc(), which find an interior pointer and end the process (NEBULA_ON_MISUSE); nor is a pointer of malloc() for the functions
 * here, which find that it is no object of theirs. A handle that was destroyed is found likewise, unless its memory is in use again
 * by another of its kind. A NULL handle is none: it makes functions return NULL or EINVAL, and destroying it does nothing.
 *
 * "Refused" below: the budget or the system left no room, or the limit of the handle itself; errno stays. */

/* What the program has of a handle, and what that took. */
struct nebula_usage {
  size_t size;
  uint64_t objects;         /* handed out and not freed */
  uint64_t used_bytes;      /* theirs, at the size of their places; of a stack, up to its top */
  uint64_t used_peak_bytes; /* the most that ever was */
  uint64_t held_bytes;      /* taken from the allocator for it */
};

/* ---- Arenas ---- */

typedef struct nebula_arena nebula_arena;

struct nebula_arena_options {
  size_t size;
  size_t block_bytes; /* taken at a time; 0: 64 KiB, which is the least */
  size_t limit_bytes; /* the most to hold; 0: no limit */
};

/* A point in the life of an arena; to be kept, compared and passed on by value. */
struct nebula_checkpoint {
  uint64_t arena;
  uint64_t number;
};

/* Makes an arena: objects are handed out one behind the other, and freed together. `options` may be NULL. NULL: refused, or the
 * options are of a size or have a wish that is not known. Cost: that of a large object; a block is held from the start. */
nebula_arena *nebula_arena_create(const struct nebula_arena_options *options) __attribute__((weak));

/* Frees the arena and all that came from it. Cost: that of freeing each of its blocks. */
void nebula_arena_destroy(nebula_arena *arena) __attribute__((weak));

/* Hands out `bytes` bytes, whatever they contain. NULL: refused. Cost: a few instructions; a block now and then. What does not fit
 * a block has one of its own. */
void *nebula_arena_allocate(nebula_arena *arena, size_t bytes) __attribute__((weak));

/* The same at a multiple of `alignment`. NULL, too, when that is no power of two. */
void *nebula_arena_allocate_aligned(nebula_arena *arena, size_t alignment, size_t bytes) __attribute__((weak));

/* Hands out `count` times `bytes` bytes that are zero. NULL, too, when the product is too large for size_t. */
void *nebula_arena_allocate_zeroed(nebula_arena *arena, size_t count, size_t bytes) __attribute__((weak));

/* Makes sure of memory: the next objects are not refused until they add up to `bytes`, each rounded up to 16, without a larger
 * alignment, and as long as no earlier checkpoint is restored. ENOMEM: refused; EINVAL: no arena. */
int nebula_arena_reserve(nebula_arena *arena, size_t bytes) __attribute__((weak));

/* Marks where the arena is now. Never fails, but for a NULL arena, whose checkpoint cannot be restored. Takes 48 bytes of the arena
 * unless nothing was handed out since the last one. */
struct nebula_checkpoint nebula_arena_checkpoint(nebula_arena *arena) __attribute__((weak));

/* Frees what was handed out since the checkpoint was taken. The checkpoint stays good and may be restored again; later ones are
 * stale. EINVAL: no arena, or the checkpoint is of another (also: one that was destroyed); ESTALE: the arena was reset or an earlier
 * checkpoint restored since; ERANGE: a number that this arena has not got to (of a copy in another process, after fork).
 * Nothing has changed then. Blocks go back to the allocator but for one. Cost: grows with the checkpoints and blocks that go. */
int nebula_arena_restore(nebula_arena *arena, struct nebula_checkpoint checkpoint) __attribute__((weak));

/* Frees all that was handed out; the arena stays. All checkpoints but those of the empty arena are stale. */
void nebula_arena_reset(nebula_arena *arena) __attribute__((weak));

/* Fills in what the arena has handed out and holds. EINVAL: no arena, NULL, or a size with no room for a field. */
int nebula_arena_usage(const nebula_arena *arena, struct nebula_usage *usage) __attribute__((weak));

/* ---- Heaps ---- */

typedef struct nebula_heap nebula_heap;

struct nebula_heap_options {
  size_t size;
  size_t limit_bytes; /* the most to hold; 0: no limit */
};

/* Makes a heap: objects of any size, freed one by one or together. `options` may be NULL. NULL: refused, or the options are of a
 * size or have a wish that is not known. Cost: that of a large object; 64 KiB are held from the start. */
nebula_heap *nebula_heap_create(const struct nebula_heap_options *options) __attribute__((weak));

/* Frees the heap and all that came from it. Cost: that of freeing each of its blocks, of which there is one for each 60 KiB of
 * small objects and one for each object above 8 KiB. */
void nebula_heap_destroy(nebula_heap *heap) __attribute__((weak));

/* Hands out `bytes` bytes, whatever they contain. NULL: refused. Cost: a few steps of its own, a new block now and then; above 8 KiB
 * that of a large object, and 64 KiB are held at least. */
void *nebula_heap_allocate(nebula_heap *heap, size_t bytes) __attribute__((weak));

/* The same at a multiple of `alignment`. NULL, too, when that is no power of two. */
void *nebula_heap_allocate_aligned(nebula_heap *heap, size_t alignment, size_t bytes) __attribute__((weak));

/* Hands out `count` times `bytes` bytes that are zero. NULL, too, when the product is too large for size_t. */
void *nebula_heap_allocate_zeroed(nebula_heap *heap, size_t count, size_t bytes) __attribute__((weak));

/* Gives the object another size, in place or elsewhere; what fits both is kept, the alignment is 16. NULL as object: allocates. 0
 * bytes: frees, and returns NULL. NULL otherwise: refused, and the object is as it was. */
void *nebula_heap_reallocate(nebula_heap *heap, void *object, size_t bytes) __attribute__((weak));

/* Frees an object of the heap; NULL does nothing. Of what is none of its objects, or is free already, the process is told and
 * ended (NEBULA_ON_MISUSE). */
void nebula_heap_free(nebula_heap *heap, void *object) __attribute__((weak));

/* Tells how many bytes of an object may be used, at least as many as were asked for. 0 for NULL. */
size_t nebula_heap_usable_size(const nebula_heap *heap, const void *object) __attribute__((weak));

/* Fills in what the heap has handed out and holds. EINVAL: no heap, NULL, or a size with no room for a field. */
int nebula_heap_usage(const nebula_heap *heap, struct nebula_usage *usage) __attribute__((weak));

/* ---- Pools ---- */

typedef struct nebula_pool nebula_pool;

struct nebula_pool_options {
  size_t size;
  size_t alignment;   /* of each object, a power of two; 0: 16 */
  size_t limit_bytes; /* the most to hold; 0: no limit */
};

/* Makes a pool of objects of `object_bytes` bytes, rounded up to the alignment. `options` may be NULL. NULL: refused, the size or the
 * alignment is above 1 GiB, the alignment no power of two, or the options are of a size or have a wish that is not known. Cost:
 * that of a large object; 64 KiB are held from the start, eight objects where they are above 4 KiB. */
nebula_pool *nebula_pool_create(size_t object_bytes, const struct nebula_pool_options *options) __attribute__((weak));

/* Frees the pool and all that came from it. Cost: that of freeing each of its blocks. */
void nebula_pool_destroy(nebula_pool *pool) __attribute__((weak));

/* Hands out an object, whatever it contains. NULL: refused. Cost: a few instructions; a new block now and then. */
void *nebula_pool_allocate(nebula_pool *pool) __attribute__((weak));

/* Frees an object of the pool; NULL does nothing. Of what is none of its objects, or is free already, the process is told and
 * ended (NEBULA_ON_MISUSE). */
void nebula_pool_free(nebula_pool *pool, void *object) __attribute__((weak));

/* Fills in what the pool has handed out and holds. EINVAL: no pool, NULL, or a size with no room for a field. */
int nebula_pool_usage(const nebula_pool *pool, struct nebula_usage *usage) __attribute__((weak));

/* ---- Stacks ---- */

typedef struct nebula_stack nebula_stack;

/* What a stack frees together; to be kept and passed on by value. */
struct nebula_frame {
  uint64_t stack;
  uint64_t number;
};

/* Makes a stack of `capacity_bytes` bytes: objects are freed by frames, the last one first, and after this call nobody is asked for
 * memory, so that a stack that is large enough is never refused any. Each object takes its size rounded up to 16, each frame 32
 * bytes. NULL: refused. Cost: that of a large object of that size; all of it is held from the start. */
nebula_stack *nebula_stack_create(size_t capacity_bytes) __attribute__((weak));

/* Frees the stack and all that came from it. */
void nebula_stack_destroy(nebula_stack *stack) __attribute__((weak));

/* Hands out `bytes` bytes, whatever they contain. NULL: the stack is full. Cost: a few instructions. */
void *nebula_stack_allocate(nebula_stack *stack, size_t bytes) __attribute__((weak));

/* The same at a multiple of `alignment`. NULL, too, when that is no power of two. */
void *nebula_stack_allocate_aligned(nebula_stack *stack, size_t alignment, size_t bytes) __attribute__((weak));

/* Begins a frame: what is handed out from here on is freed by its end. ENOMEM: the stack is full; EINVAL: no stack, or `frame` is
 * NULL. Cost: a few instructions. */
int nebula_stack_begin_frame(nebula_stack *stack, struct nebula_frame *frame) __attribute__((weak));

/* Frees what was handed out since the frame began, and the frame. EINVAL: no stack, or the frame is of another; EBUSY: a frame that
 * began later has not ended; ESTALE: it has ended already; ERANGE: a number that this stack has not got to. Nothing has
 * changed then. Cost: a few instructions. */
int nebula_stack_end_frame(nebula_stack *stack, struct nebula_frame frame) __attribute__((weak));

/* Fills in what the stack has handed out and holds. EINVAL: no stack, NULL, or a size with no room for a field. */
int nebula_stack_usage(const nebula_stack *stack, struct nebula_usage *usage) __attribute__((weak));

#ifdef __cplusplus
}
#endif

#endif
