/* rseq belongs to glibc or the program: with glibc's registration off, a thread that used the heap can register its own. */
#include "check.h"

#include <linux/rseq.h>
#include <pthread.h>
#include <sys/syscall.h>

static void *use_and_register(void *unused) {
  static _Thread_local struct rseq area __attribute__((aligned(32)));
  for (int i = 0; i < 10000; ++i) free(hide(malloc((size_t)i)));
  CHECK(syscall(SYS_rseq, &area, sizeof area, 0, 0x53053053) == 0);
  for (int i = 0; i < 10000; ++i) free(hide(malloc((size_t)i)));
  CHECK(syscall(SYS_rseq, &area, sizeof area, RSEQ_FLAG_UNREGISTER, 0x53053053) == 0);
  return unused;
}

int main(void) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, use_and_register, NULL) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  use_and_register(NULL);
  return 0;
}
