/* With a second thread alive, flushed slots wait in the depot, unexamined: found when that is drained. */
#include "misuse.h"
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

static void *wait_for_ever(void *unused) {
  free(hide(malloc(64)));
  for (;;) pause();
  return unused;
}

int main(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, wait_for_ever, NULL);
  void *object = hide(malloc(64));
  void *other = hide(malloc(64));
  gather_crowd(64);
  free(object);
  free(other);
  free(hide(object));
  free_crowd();
  malloc_trim(0);
  return finished();
}
