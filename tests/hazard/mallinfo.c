/* mallinfo2 is filled, follows the program, and its fields fit each other; mallinfo says the same in ints. */
#include "check.h"
#include <malloc.h>

static struct mallinfo2 consistent(void) {
  struct mallinfo2 now = mallinfo2();
  CHECK(now.arena + now.hblkhd > 0);
  CHECK(now.arena < (size_t)1 << 40 && now.hblkhd < (size_t)1 << 40);
  CHECK(now.uordblks <= now.arena + now.hblkhd);
  CHECK(now.fordblks <= now.arena + now.hblkhd);
  CHECK(now.uordblks + now.hblkhd > 0);
  return now;
}

static size_t in_use(struct mallinfo2 now) { return now.uordblks + now.hblkhd; }

int main(void) {
  enum { kSmall = 200000 };
  static void *small[kSmall];
  void *first = hide(malloc(100));
  struct mallinfo2 start = consistent();
  for (int i = 0; i < kSmall; ++i) small[i] = hide(malloc(160));
  struct mallinfo2 filled = consistent();
  CHECK(in_use(filled) >= in_use(start) + kSmall * 160);
  CHECK(in_use(filled) <= in_use(start) + kSmall * 160 + 8 * MIB);

  char *large = hide(malloc(32 * MIB));
  memset(large, 1, 32 * MIB);
  struct mallinfo2 with_large = consistent();
  CHECK(in_use(with_large) >= in_use(filled) + 32 * MIB);

  struct mallinfo narrow = mallinfo();
  CHECK((size_t)narrow.arena == with_large.arena);
  CHECK((size_t)narrow.uordblks == with_large.uordblks);
  CHECK((size_t)narrow.hblkhd == with_large.hblkhd);

  free(large);
  for (int i = 0; i < kSmall; ++i) free(small[i]);
  CHECK(in_use(consistent()) <= in_use(start) + 8 * MIB);
  free(first);
  return 0;
}
