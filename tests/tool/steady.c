/* Holds a known amount of memory, says "ready PID", and stays there until its input ends.
   steady [spin|fork|threads]: busy without a call; with a child that holds more; with three more threads that hold some. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kObjects = 10000, kMiB = 1 << 20 };

static void *keep[kObjects];
static pthread_barrier_t all_hold, may_end;

static void *hold(size_t size) {
  void *volatile object = malloc(size);
  if (object == NULL) abort();
  return object;
}

static void *hold_in_thread(void *unused) {
  prctl(PR_SET_NAME, "holder");
  void *mine[100];
  for (int i = 0; i < 100; ++i) mine[i] = hold(3000);
  pthread_barrier_wait(&all_hold);
  pthread_barrier_wait(&may_end);
  for (int i = 0; i < 100; ++i) free(mine[i]);
  return unused;
}

int main(int count, char **words) {
  const char *mode = count > 1 ? words[1] : "";
  pthread_t threads[3];
  for (int i = 0; i < kObjects; ++i) keep[i] = hold(48);
  memset(hold(100 * kMiB), 1, kMiB);
  memset(hold(50 * kMiB), 1, kMiB);
  if (strcmp(mode, "threads") == 0) {
    pthread_barrier_init(&all_hold, NULL, 4);
    pthread_barrier_init(&may_end, NULL, 4);
    for (int i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, hold_in_thread, NULL);
    pthread_barrier_wait(&all_hold);
  }
  pid_t child = 0;
  int ends[2] = {-1, -1};
  if (strcmp(mode, "fork") == 0) {
    if (pipe(ends) != 0) return 3;
    child = fork();
    if (child == 0) {
      memset(hold(200 * kMiB), 1, kMiB);
      printf("ready %d\n", (int)getpid());
      fflush(stdout);
      char letter;
      close(ends[1]);
      while (read(ends[0], &letter, 1) > 0) {
      }
      return 0;
    }
    close(ends[0]);
  }
  printf("ready %d\n", (int)getpid());
  fflush(stdout);
  if (strcmp(mode, "spin") == 0)
    for (volatile unsigned long turns = 0;; ++turns) {
    }
  char letter;
  while (read(0, &letter, 1) > 0) {
  }
  if (strcmp(mode, "threads") == 0) {
    pthread_barrier_wait(&may_end);
    for (int i = 0; i < 3; ++i) pthread_join(threads[i], NULL);
  }
  close(ends[1]);
  if (child != 0) waitpid(child, NULL, 0);
  return 0;
}
