/* A sandbox entered after start that kills the process at any system call but those that the heap is allowed:
   mapping, futex, clocks, getcpu, write and the ways to end. Two threads go on allocating, giving back and resizing. With
   the argument "report", the two calls more that the report at the exit makes. */
#include "churn.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const unsigned kAllowed[] = {
    SYS_mmap,         SYS_munmap,       SYS_mprotect,   SYS_madvise,      SYS_mremap,    SYS_mbind,
    SYS_futex,        SYS_getcpu,       SYS_write,      SYS_clock_gettime, SYS_clock_getres, SYS_exit,
    SYS_exit_group,   SYS_rt_sigreturn, SYS_rt_sigaction, SYS_rt_sigprocmask,
    SYS_fstat,        SYS_getrusage,  // for the report alone
};
enum { kOfReport = 2 };

static void enter_sandbox(int with_report) {
  enum { kMost = sizeof kAllowed / sizeof *kAllowed };
  const unsigned kCount = with_report ? kMost : kMost - kOfReport;
  struct sock_filter filter[kMost + 3];
  filter[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (unsigned i = 0; i < kCount; ++i)
    filter[1 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kAllowed[i], (unsigned char)(kCount - i), 0);
  filter[kCount + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  filter[kCount + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {.len = (unsigned short)(kCount + 3), .filter = filter};
  CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0);
}

static void use_heap(uint64_t seed) {
  churn_steps(seed, 100000);
  char *large = hide(malloc(MIB));
  for (size_t size = 2 * MIB; size <= 256 * MIB; size *= 2) {
    CHECK((large = hide(realloc(large, size))) != NULL);
    memset(large + size / 2, 1, MIB);
  }
  free(large);
  malloc_trim(0);
  free(hide(calloc(1, 8 * MIB)));
  CHECK(malloc((size_t)PTRDIFF_MAX) == NULL);
}

static atomic_int running;
static atomic_int started;
static atomic_int entered;
static atomic_int done;

static void *other_thread(void *unused) {
  atomic_store(&running, 1);
  churn_steps(5, 10); /* a thread's first allocation needs gettid */
  atomic_store(&started, 1);
  while (!atomic_load(&entered)) churn_steps(5, 10);
  use_heap(2);
  atomic_store(&done, 1);
  return unused;
}

int main(int count, char **arguments) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
  while (!atomic_load(&running)) churn_steps(3, 10);
  while (!atomic_load(&started)) churn_steps(4, 10);  // a thread's start needs calls that the sandbox forbids
  enter_sandbox(count > 1 && strcmp(arguments[1], "report") == 0);
  atomic_store(&entered, 1);
  use_heap(1);
  while (!atomic_load(&done)) churn_steps(3, 10);
  CHECK(write(STDOUT_FILENO, "finished\n", 9) == 9);
  exit(0);
}
