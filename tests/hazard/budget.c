/* Under NEBULA_BUDGET=64M: a refusal is null and ENOMEM, what is resident stays below it, small allocations still work
   while the program unwinds, and freed memory can be had again. */
#include "check.h"

int main(void) {
  enum { kMost = 4000 };
  static void *objects[kMost];
  size_t start = resident_bytes();
  for (int round = 0; round < 3; ++round) {
    int count = 0;
    for (; count < kMost; ++count) {
      size_t size = round == 0 ? MIB : round == 1 ? 20000 : 300000;
      errno = 0;
      if ((objects[count] = hide(malloc(size))) == NULL) break;
      memset(objects[count], 1, size);
    }
    CHECK(count < kMost);
    CHECK(errno == ENOMEM);
    CHECK(resident_bytes() <= start + 66 * MIB);
    CHECK(resident_bytes() >= start + 48 * MIB);
    void *unwinding[100];
    for (size_t i = 0; i < 100; ++i) CHECK((unwinding[i] = hide(malloc(10 + i))) != NULL);
    for (size_t i = 0; i < 100; ++i) free(unwinding[i]);
    for (int i = 0; i < count; ++i) free(objects[i]);
  }
  return 0;
}
