/* A limited address space (ulimit -v): at least as many MiB as the first argument says are usable in touched objects of
   as many bytes as the second says; then null and ENOMEM; and after freeing them, as many again. */
#include "check.h"

struct object {
  struct object *next;
};

static size_t fill(struct object **list, size_t size) {
  size_t count = 0;
  for (;; ++count) {
    errno = 0;
    struct object *object = hide(malloc(size));
    if (object == NULL) break;
    for (size_t i = 0; i < size; i += 4096) ((volatile char *)object)[i] = 1;
    object->next = *list;
    *list = object;
  }
  CHECK(errno == ENOMEM);
  return count * size;
}

int main(int count, char **arguments) {
  CHECK(count == 3);
  size_t least = strtoul(arguments[1], NULL, 10) * MIB, size = strtoul(arguments[2], NULL, 10);
  struct object *list = NULL;
  for (int round = 0; round < 2; ++round) {
    size_t filled = fill(&list, size);
    printf("%zu MiB\n", filled / MIB);
    CHECK(filled >= least);
    for (struct object *next; list != NULL; list = next) {
      next = list->next;
      free(list);
    }
  }
  return 0;
}
