/* malloc_usable_size: at least what was asked for, every byte of it writable without harm to the neighbours, and stable. */
#include "check.h"
#include <malloc.h>

enum { kObjects = 4000 };
static unsigned char *objects[kObjects];
static size_t usable[kObjects];

static size_t size_of(int i) { return i < 2500 ? (size_t)i : (size_t)i * 97 % 300000; }

int main(void) {
  CHECK(malloc_usable_size(NULL) == 0);
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < kObjects; ++i) {
      objects[i] = hide(malloc(size_of(i)));
      CHECK(objects[i] != NULL);
      usable[i] = malloc_usable_size(objects[i]);
      CHECK(usable[i] >= size_of(i));
      memset(objects[i], i & 0xff, usable[i]);
    }
    for (int i = 0; i < kObjects; ++i) {
      CHECK(malloc_usable_size(objects[i]) == usable[i]);
      for (size_t k = 0; k < usable[i]; ++k) CHECK(objects[i][k] == (i & 0xff));
      unsigned char *same = hide(realloc(objects[i], usable[i] ? usable[i] : 1));
      CHECK(same != NULL);
      for (size_t k = 0; k < usable[i]; ++k) CHECK(same[k] == (i & 0xff));
      free(same);
    }
  }
  return 0;
}
