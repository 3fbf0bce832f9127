/* malloc_info writes its XML to stdout (the driver parses it) and refuses unknown options; malloc_stats writes to stderr. */
#include "check.h"
#include <malloc.h>

int main(void) {
  void *small = hide(malloc(100)), *large = hide(malloc(3 * MIB));
  errno = 0;
  CHECK(malloc_info(1, stdout) != 0);
  CHECK(malloc_info(0, stdout) == 0);
  CHECK(fflush(stdout) == 0);
  malloc_stats();
  free(small);
  free(large);
  return 0;
}
