/* Thread-specific destructors that allocate and free in each of their iterations, also after the heap's own destructor
   ran; then glibc frees its thread data. Nothing is lost: what is resident stays bounded over 4,000 threads. */
#include "check.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>

enum { kKeys = 8 };
static pthread_key_t keys[kKeys];
static _Thread_local int calls[kKeys];

static void use_and_come_back(int key, void *object) {
  free(object);
  void *objects[50];
  for (size_t i = 0; i < 50; ++i) {
    CHECK((objects[i] = hide(malloc(i * 60))) != NULL);
    memset(objects[i], 1, i * 60);
  }
  for (size_t i = 0; i < 50; ++i) free(objects[i]);
  free(hide(malloc(100000)));
  if (++calls[key] < PTHREAD_DESTRUCTOR_ITERATIONS) CHECK(pthread_setspecific(keys[key], hide(malloc(200))) == 0);
}

#define DESTRUCTOR(n) \
  static void destructor_##n(void *object) { use_and_come_back(n, object); }
DESTRUCTOR(0)
DESTRUCTOR(1)
DESTRUCTOR(2)
DESTRUCTOR(3)
DESTRUCTOR(4)
DESTRUCTOR(5)
DESTRUCTOR(6)
DESTRUCTOR(7)

static void *live_and_die(void *unused) {
  for (int i = 0; i < kKeys; ++i) CHECK(pthread_setspecific(keys[i], hide(malloc(100))) == 0);
  CHECK(strerror(12345) != NULL);                        /* in a buffer of the thread's own */
  CHECK(dlsym(RTLD_DEFAULT, "no such symbol") == NULL);  /* leaves a message for dlerror */
  return unused;
}

int main(void) {
  void (*const destructors[])(void *) = {destructor_0, destructor_1, destructor_2, destructor_3,
                                         destructor_4, destructor_5, destructor_6, destructor_7};
  for (int i = 0; i < kKeys; ++i) CHECK(pthread_key_create(&keys[i], destructors[i]) == 0);
  size_t before = 0;
  for (int i = 0; i < 4000; ++i) {
    if (i == 400) before = resident_bytes();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, live_and_die, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
  }
  CHECK(resident_bytes() <= before + 2 * MIB);
  return 0;
}
