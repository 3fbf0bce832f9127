/* Objects of a little more than half of 2 MiB: what is resident stays near what they are. A huge page under each would double it. */
#include "check.h"

int main(void) {
  enum { kObjects = 150 };
  static void *objects[kObjects];
  const size_t size = MIB + 1;
  const size_t start = resident_bytes();
  for (int i = 0; i < kObjects; ++i) {
    CHECK((objects[i] = hide(malloc(size))) != NULL);
    memset(objects[i], 1, size);
  }
  CHECK(resident_bytes() <= start + kObjects * MIB / 100 * 115);
  for (int i = 0; i < kObjects; ++i) free(objects[i]);
  return 0;
}
