/* 16 bytes for every size from every entry point; what was asked for from the aligned ones; EINVAL for what is no power
   of two, with errno and the pointer left alone by posix_memalign; sizes that are no multiple of the alignment. */
#include "check.h"
#include <malloc.h>

static void check_object(void *object, size_t alignment, size_t size) {
  CHECK(object != NULL);
  CHECK(is_aligned(object, alignment));
  CHECK(malloc_usable_size(object) >= size);
  memset(object, 0xa5, size);
}

int main(void) {
  for (size_t size = 0; size <= 40000; size += size < 2000 ? 1 : 37) {
    void *plain = hide(malloc(size)), *zeroed = hide(calloc(1, size)), *moved = hide(realloc(malloc(1), size ? size : 1));
    check_object(plain, 16, size);
    check_object(zeroed, 16, size);
    check_object(moved, 16, size);
    free(plain);
    free(zeroed);
    free(moved);
  }

  for (size_t alignment = 16; alignment <= 64 * MIB; alignment *= 2) {
    const size_t sizes[] = {1, 24, 100, 1000, 1025, 5000, 32768, 32769, 100001, 2 * MIB + 1};
    void *objects[3 * sizeof sizes / sizeof *sizes];
    size_t count = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
      check_object(objects[count++] = hide(aligned_alloc(alignment, sizes[i])), alignment, sizes[i]);
      check_object(objects[count++] = hide(memalign(alignment, sizes[i])), alignment, sizes[i]);
      CHECK(posix_memalign(&objects[count++], alignment, sizes[i]) == 0);
      check_object(objects[count - 1], alignment, sizes[i]);
    }
    for (size_t i = 0; i < count; ++i) {
      unsigned char *object = objects[i] = hide(realloc(objects[i], 2 * sizes[i / 3]));
      CHECK(object != NULL);
      for (size_t k = 0; k < sizes[i / 3]; ++k) CHECK(object[k] == 0xa5);
    }
    for (size_t i = 0; i < count; ++i) free(objects[i]);
  }

  const size_t small_alignments[] = {1, 2, 4, 8};
  for (size_t i = 0; i < 4; ++i) {
    void *object = hide(aligned_alloc(small_alignments[i], 40));
    check_object(object, 16, 40);
    free(object);
  }

  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  void *valloced = hide(valloc(100)), *pvalloced = hide(pvalloc(page + 1));
  check_object(valloced, page, 100);
  check_object(pvalloced, page, 2 * page);
  free(valloced);
  free(pvalloced);
  pvalloced = hide(pvalloc(0));
  CHECK(pvalloced != NULL && is_aligned(pvalloced, page));
  free(pvalloced);

  const size_t bad[] = {0, 3, 17, 24, 48, 4095, SIZE_MAX, SIZE_MAX / 2};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
    void *alignment = hide((void *)bad[i]);
    errno = 0;
    CHECK(aligned_alloc((size_t)alignment, 96) == NULL);
    CHECK(errno == EINVAL);
  }
  const size_t bad_posix[] = {0, 1, 2, 4, 3, 12, 24, 48, 4095, SIZE_MAX, SIZE_MAX / 2};
  for (size_t i = 0; i < sizeof bad_posix / sizeof *bad_posix; ++i) {
    void *untouched = &untouched;
    errno = 77;
    CHECK(posix_memalign(&untouched, (size_t)hide((void *)bad_posix[i]), 96) == EINVAL);
    CHECK(untouched == &untouched);
    CHECK(errno == 77);
  }
  errno = 0;
  CHECK(aligned_alloc((size_t)hide((void *)((size_t)1 << 63)), 1) == NULL);
  CHECK(errno == ENOMEM || errno == EINVAL);
  return 0;
}
