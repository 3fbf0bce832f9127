/* The program that libearly_allocations.so is preloaded into: what was allocated early is freed, and there is room as before. */
#include "check.h"

#include <dlfcn.h>

int main(void) {
  void (*release)(void) = NULL;
  *(void **)&release = dlsym(RTLD_DEFAULT, "early_release");
  CHECK(release != NULL);
  release();
  for (int i = 0; i < 5000; ++i) {
    void *const small = hide(malloc((size_t)(i % 40) * 24 + 1));
    void *const large = hide(malloc(100000));
    CHECK(small != NULL && large != NULL);
    free(large);
    free(small);
  }
  return 0;
}
