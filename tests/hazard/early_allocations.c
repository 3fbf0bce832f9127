/* A preloaded library whose constructor allocates before a limit on sizes is read, as those of many C++ libraries do, and gives it
   all back while main runs. */
#include "check.h"

enum { kSmall = 3000, kLarge = 4 };

void early_release(void);

static void *small[kSmall];
static void *large[kLarge];

__attribute__((constructor)) static void start(void) {
  for (int i = 0; i < kSmall; ++i) CHECK((small[i] = malloc((size_t)(i % 40) * 24 + 1)) != NULL);
  for (int i = 0; i < kLarge; ++i) CHECK((large[i] = malloc(100000)) != NULL);
}

void early_release(void) {
  for (int i = 0; i < kSmall; ++i) free(small[i]);
  for (int i = 0; i < kLarge; ++i) free(large[i]);
}
