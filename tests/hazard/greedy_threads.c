/* Threads that keep all the memory they get, until there is no more. Arguments: how many, the smallest size; each thread
   asks for another size. */
#include "check.h"

#include <pthread.h>

static void *take(void *size) {
  for (;;) {
    char *object = hide(malloc((size_t)size));
    if (object != NULL) memset(object, 1, (size_t)size);
  }
  return NULL;
}

int main(int count, char **arguments) {
  CHECK(count == 3);
  const size_t threads = strtoul(arguments[1], NULL, 10);
  const size_t size = strtoul(arguments[2], NULL, 10);
  for (size_t i = 1; i < threads; ++i) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, take, (void *)(size + i * (size / 3))) == 0);
  }
  take((void *)size);
}
