/* A thread frees an interior pointer of a small object and ends, which flushes its pools. */
#include "misuse.h"
#include <pthread.h>

static void *free_inside(void *object) {
  free(hide((char *)object + 8));
  return NULL;
}

int main(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, free_inside, hide(malloc(64)));
  pthread_join(thread, NULL);
  return finished();
}
