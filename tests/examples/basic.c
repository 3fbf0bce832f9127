/* Basic use: ask what an operation did with memory, bound the process, give back what is free. Linked with nothing of Nebula: the
 * functions are there when libnebula.so is, and null otherwise. */
#include <nebula/nebula.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *volatile lines[1000];

static void operation(void) {
  for (int i = 0; i < 1000; ++i) lines[i] = strdup("a line of text that is kept");
}

int main(void) {
  if (!nebula_statistics_take) {
    operation();
    puts("done, without Nebula");
    return 0;
  }

  struct nebula_statistics before = {.size = sizeof before}, after = {.size = sizeof after};
  nebula_statistics_take(&before);
  operation();
  nebula_statistics_take(&after);

  struct nebula_statistics_difference changed = {.size = sizeof changed};
  nebula_statistics_diff(&before, &after, &changed);
  printf("the operation keeps %" PRId64 " objects, %" PRId64 " bytes\n", changed.live_objects, changed.live_bytes);

  nebula_budget_set(after.committed_bytes + (64 << 20), NEBULA_NO_LIMIT);
  char *volatile large = malloc(100 << 20);
  if (large == NULL) puts("100 MiB are refused under a budget of 64 MiB more");

  for (int i = 0; i < 1000; ++i) free(lines[i]);
  if (nebula_purge() > 0) puts("free memory went back to the system");
  return 0;
}
