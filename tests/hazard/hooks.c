/* A preloaded library whose wrappers of system functions allocate, from its first constructor on (as monitors do): the
   heap must use none of them, or it calls itself. Counts the calls that come while an allocation is under way. */
#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

int hooks_calls_from_heap(void);

static int calls_from_heap;
static _Thread_local int allocating;

int hooks_calls_from_heap(void) { return calls_from_heap; }

static void allocate(void) {
  if (allocating) {
    ++calls_from_heap;
    return;
  }
  allocating = 1;
  void *small[40];
  for (int i = 0; i < 40; ++i) CHECK((small[i] = hide(malloc((size_t)i * 90))) != NULL);
  for (int i = 0; i < 40; ++i) free(small[i]);
  free(hide(calloc(1, 300000)));
  free(hide(malloc(9 * MIB)));
  allocating = 0;
}

__attribute__((constructor)) static void start(void) { allocate(); }

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
  allocate();
  return (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
}

int munmap(void *address, size_t length) {
  allocate();
  return (int)syscall(SYS_munmap, address, length);
}

int madvise(void *address, size_t length, int advice) {
  allocate();
  return (int)syscall(SYS_madvise, address, length, advice);
}

int mprotect(void *address, size_t length, int protection) {
  allocate();
  return (int)syscall(SYS_mprotect, address, length, protection);
}

int open(const char *path, int flags, ...) {
  allocate();
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
}

ssize_t read(int file, void *buffer, size_t size) {
  allocate();
  return syscall(SYS_read, file, buffer, size);
}

ssize_t write(int file, const void *buffer, size_t size) {
  allocate();
  return syscall(SYS_write, file, buffer, size);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  allocate();
  return (int)syscall(SYS_clock_gettime, clock, time);
}

long sysconf(int name) {
  allocate();
  long (*next)(int) = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
  return next(name);
}

char *getenv(const char *name) {
  allocate();
  char *(*next)(const char *) = (char *(*)(const char *))dlsym(RTLD_NEXT, "getenv");
  return next(name);
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
  allocate();
  int (*next)(pthread_mutex_t *) = (int (*)(pthread_mutex_t *))dlsym(RTLD_NEXT, "pthread_mutex_lock");
  return next(mutex);
}
