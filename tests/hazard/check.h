/* What the hazard programs share: CHECK, pointers that the compiler knows nothing about, and the sizes of this process.
   Nothing here allocates or uses stdio's streams, so that it works whatever state the heap is in. */
#ifndef NEBULA_TESTS_HAZARD_CHECK_H
#define NEBULA_TESTS_HAZARD_CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ends the program with status 1 and a line that names the place and errno. */
#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) check_failed(__FILE__, __LINE__, #condition, errno); \
  } while (0)

static inline void check_failed(const char *file, int line, const char *text, int error) {
  char message[512];
  int length = snprintf(message, sizeof message, "%s:%d: %s (errno %d)\n", file, line, text, error);
  if (write(STDERR_FILENO, message, (size_t)length) != length) _exit(2);
  _exit(1);
}

static inline void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

static inline int is_aligned(const void *pointer, size_t alignment) { return (uintptr_t)pointer % alignment == 0; }

/* Field of /proc/self/statm, in bytes: 0 is the address space, 1 what is resident. */
static inline size_t statm_bytes(int field) {
  char text[128] = "";
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  CHECK(file >= 0);
  CHECK(read(file, text, sizeof text - 1) > 0);
  close(file);
  char *position = text;
  for (int i = 0; i < field; ++i) strtoul(position, &position, 10);
  return strtoul(position, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

static inline size_t virtual_bytes(void) { return statm_bytes(0); }
static inline size_t resident_bytes(void) { return statm_bytes(1); }

#define MIB ((size_t)1 << 20)

#endif
