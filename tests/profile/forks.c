/* Parent and child each allocate by a function of their own; threads allocate meanwhile. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define ON_STACK __attribute__((noinline, noclone))

static atomic_int stop;

static void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

static void *busy(void *unused) {
  while (!atomic_load(&stop)) free(hide(malloc(3000)));
  return unused;
}

ON_STACK void in_parent(void) {
  for (int i = 0; i < 10000; ++i) hide(malloc(1000));
}

ON_STACK void in_child(void) {
  for (int i = 0; i < 10000; ++i) hide(malloc(1000));
}

int main(void) {
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i)
    if (pthread_create(&threads[i], NULL, busy, NULL) != 0) return 3;
  in_parent();
  int result = 0;
  for (int i = 0; i < 20; ++i) {
    pid_t child = fork();
    if (child == 0) {
      in_child();
      exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) result = 4;
  }
  atomic_store(&stop, 1);
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  return result;
}
