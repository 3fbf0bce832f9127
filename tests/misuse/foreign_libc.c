/* Objects of libc's own malloc, of each of its kinds: in its main arena, in a thread's arena, mapped one by one. Libc gets
   them back. Those of a second libc in a namespace of its own are not the first one's, and are left alone. */
#include "misuse.h"
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>

static void *(*libc_malloc)(size_t);
static const size_t sizes[] = {1, 24, 1000, 5000, 100000, 500000, 10 << 20};
enum { kSizes = sizeof sizes / sizeof *sizes };

static void *use(void *unused) {
  char *neighbours[kSizes * 10];
  for (int i = 0; i < kSizes * 10; ++i) {
    size_t size = sizes[i % kSizes];
    char *object = hide(libc_malloc(size));
    if (malloc_usable_size(object) < size) exit(1);
    memset(object, 'x', size);
    char *moved = hide(realloc(object, size * 2)); /* frees the object */
    if (moved == NULL || moved[0] != 'x' || moved[size - 1] != 'x') exit(2);
    free(moved);
    neighbours[i] = hide(libc_malloc(size));
  }
  for (int i = 0; i < kSizes * 10; i += 2) free(neighbours[i]);
  for (int i = 1; i < kSizes * 10; i += 2) free(neighbours[i]);
  return unused;
}

int main(void) {
  void *libc = dlopen("libc.so.6", RTLD_NOW);
  libc_malloc = (void *(*)(size_t))dlsym(libc, "malloc");
  if (libc_malloc == malloc) return 3;
  use(NULL);
  pthread_t thread;
  if (pthread_create(&thread, NULL, use, NULL) != 0 || pthread_join(thread, NULL) != 0) return 4;
  use(NULL);

  void *other = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
  if (other == NULL) return 5;
  libc_malloc = (void *(*)(size_t))dlsym(other, "malloc");
  for (int i = 0; i < 10; ++i) free(hide(libc_malloc(1000)));
  return finished();
}
