/* A slot that its slab has not handed out yet is freed: far above the only object of its class. */
#include "misuse.h"
#include <pthread.h>

static void *free_it(void *object) {
  free(object);
  return NULL;
}

int main(void) {
  char *object = hide(malloc(640));
  pthread_t thread;
  pthread_create(&thread, NULL, free_it, hide(object + 640 * 80));
  pthread_join(thread, NULL);
  return finished();
}
