/* Nebula, a drop-in malloc: what a program that knows of it may call. C11 and C++.
 *
 * Every function is declared weak: a program that uses it links and runs without libnebula.so too, and finds the
 * address null. Call only after checking, for example `if (nebula_version) puts(nebula_version());`.
 *
 * All of them may be called by any thread at any time, leave errno alone and never throw. */
#ifndef NEBULA_NEBULA_H
#define NEBULA_NEBULA_H

#include <stddef.h>

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

#ifdef __cplusplus
}
#endif

#endif
