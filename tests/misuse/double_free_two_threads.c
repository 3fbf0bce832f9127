/* Two threads free the same small object and end, which flushes their pools. */
#include "misuse.h"
#include <pthread.h>

static void *free_it(void *object) {
  free(object);
  return NULL;
}

int main(void) {
  void *object = hide(malloc(64));
  for (int i = 0; i < 2; ++i) {
    pthread_t thread;
    pthread_create(&thread, NULL, free_it, object);
    pthread_join(thread, NULL);
  }
  return finished();
}
