/* What the library does at its ends, on a thread stack of 16 KiB. Arguments: "exit" (the report at the exit), "stats"
   (malloc_stats), "refusal" (everything is taken, then a large and a small request are refused), "misuse" (two kinds,
   told), "foreign" (a pointer that is not ours). */
#include "check.h"

#include <malloc.h>
#include <pthread.h>

static void take_everything(void) {
  for (size_t size = 1 << 20; size >= 16; size /= 2)
    while (hide(malloc(size)) != NULL) continue;
}

static void *end(void *how) {
  static _Thread_local char *objects[50];
  for (size_t i = 0; i < 50; ++i) CHECK((objects[i] = hide(malloc(16 + i * i * 40))) != NULL);
  for (size_t i = 0; i < 50; i += 2) free(objects[i]);
  if (strcmp(how, "exit") == 0) exit(0);
  if (strcmp(how, "stats") == 0) malloc_stats();
  if (strcmp(how, "refusal") == 0) take_everything();
  if (strcmp(how, "foreign") == 0) free(hide((char *)objects + 32));
  if (strcmp(how, "misuse") == 0) {
    free(objects[48]);
    for (int i = 0; i < 2; ++i) free(hide(objects[1]));
  }
  return NULL;
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  pthread_attr_t attributes;
  CHECK(pthread_attr_init(&attributes) == 0);
  long smallest = sysconf(_SC_THREAD_STACK_MIN);
  CHECK(pthread_attr_setstacksize(&attributes, smallest > 16384 ? (size_t)smallest : 16384) == 0);
  pthread_t thread;
  CHECK(pthread_create(&thread, &attributes, end, arguments[1]) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
  return 0;
}
