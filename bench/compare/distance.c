// Prints how many nanoseconds a cache line takes from one processor to another and back, or 0 where there is one processor alone.
// A virtual machine's processors lie sometimes side by side and sometimes apart, and what threads that share memory take depends on it
// by a factor of several: figures are comparable only where this one is. Of ten short exchanges the fastest counts, because one in
// which a processor did something else says nothing.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { kExchanges = 10, kTrips = 500 };

static _Alignas(128) atomic_int ball;
static int processors[2];

static void pin(int which)
{
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processors[which], &one);
  sched_setaffinity(0, sizeof one, &one);
}

static void* other(void* unused)
{
  pin(1);
  for (int trip = 0; trip < kExchanges * kTrips; ++trip) {
    while (atomic_load_explicit(&ball, memory_order_acquire) != 2 * trip + 1) {}
    atomic_store_explicit(&ball, 2 * trip + 2, memory_order_release);
  }
  return unused;
}

static double now(void)
{
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

int main(void)
{
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof all, &all) != 0) {
    perror("distance");
    return 1;
  }
  int found = 0;
  for (int i = 0; i < CPU_SETSIZE && found < 2; ++i)
    if (CPU_ISSET(i, &all)) processors[found++] = i;
  pthread_t thread;
  double best = 0;
  if (found == 2 && pthread_create(&thread, NULL, other, NULL) == 0) {
    pin(0);
    for (int exchange = 0, trip = 0; exchange < kExchanges; ++exchange) {
      const double start = now();
      for (const int end = trip + kTrips; trip < end; ++trip) {
        atomic_store_explicit(&ball, 2 * trip + 1, memory_order_release);
        while (atomic_load_explicit(&ball, memory_order_acquire) != 2 * trip + 2) {}
      }
      const double each = (now() - start) / kTrips;
      if (exchange == 0 || each < best) best = each;
    }
    pthread_join(thread, NULL);
  }
  printf("%.0f\n", best);
  return 0;
}
