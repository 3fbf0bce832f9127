/* A program that knows of Nebula: knows_nebula absent|present|double-free. It is linked with nothing of it, so the functions
   are there under the preload and only there. Strict C11: the header has to be, too. */
#define _POSIX_C_SOURCE 200809L
#include <nebula/nebula.h>

#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "check.h"

enum { kSmall = 1000, kSmallBytes = 512, kLarge = 32, kLargeBytes = 1 << 20 };

static void *volatile objects[kSmall];

static size_t bytes_in_pools(void) {
  static char text[4096];
  FILE *file = fmemopen(text, sizeof text, "w");
  CHECK(file != NULL);
  CHECK(malloc_info(0, file) == 0);
  CHECK(fclose(file) == 0);
  const char *pools = strstr(text, "<pools bytes=\"");
  CHECK(pools != NULL);
  return strtoul(pools + strlen("<pools bytes=\""), NULL, 10);
}

static void flush_empties_the_pools(void) {
  for (int i = 0; i < kSmall; ++i) objects[i] = malloc(kSmallBytes);
  for (int i = 0; i < kSmall; ++i) free(objects[i]);
  const size_t before = bytes_in_pools();
  CHECK(before >= 16 * kSmallBytes);
  errno = EDOM;
  nebula_thread_flush();
  CHECK(errno == EDOM);
  const size_t after = bytes_in_pools();
  CHECK(after + 8 * kSmallBytes <= before);
}

static void purge_tells_what_it_gave_back(void) {
  for (int i = 0; i < kLarge; ++i) {
    objects[i] = malloc(kLargeBytes);
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, kLargeBytes);
  }
  for (int i = 0; i < kLarge; ++i) free(objects[i]);
  const size_t committed = mallinfo2().arena + mallinfo2().hblkhd;
  errno = EDOM;
  const size_t bytes = nebula_purge();
  CHECK(errno == EDOM);
  CHECK(bytes >= (size_t)kLarge * kLargeBytes);
  CHECK(mallinfo2().arena + mallinfo2().hblkhd + bytes == committed);
  CHECK(nebula_purge() == 0);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  if (strcmp(arguments[1], "absent") == 0) {
    CHECK(!nebula_version && !nebula_purge && !nebula_thread_flush);
    CHECK(!nebula_statistics_take && !nebula_statistics_diff);
    CHECK(!nebula_budget_set && !nebula_budget_get && !nebula_budget_reserve);
    CHECK(!nebula_monitor_add && !nebula_monitor_remove);
    CHECK(!nebula_arena_create && !nebula_arena_destroy && !nebula_arena_allocate && !nebula_arena_allocate_aligned);
    CHECK(!nebula_arena_allocate_zeroed && !nebula_arena_reserve && !nebula_arena_checkpoint && !nebula_arena_restore);
    CHECK(!nebula_arena_reset && !nebula_arena_usage && !nebula_heap_create && !nebula_heap_destroy && !nebula_heap_allocate);
    CHECK(!nebula_heap_allocate_aligned && !nebula_heap_allocate_zeroed && !nebula_heap_reallocate && !nebula_heap_free);
    CHECK(!nebula_heap_usable_size && !nebula_heap_usage && !nebula_pool_create && !nebula_pool_destroy);
    CHECK(!nebula_pool_allocate && !nebula_pool_free && !nebula_pool_usage && !nebula_stack_create && !nebula_stack_destroy);
    CHECK(!nebula_stack_allocate && !nebula_stack_allocate_aligned && !nebula_stack_begin_frame && !nebula_stack_end_frame);
    CHECK(!nebula_stack_usage);
    return 0;
  }
  CHECK(nebula_version && nebula_purge && nebula_thread_flush);
  CHECK(strcmp(nebula_version(), VERSION) == 0);
  if (strcmp(arguments[1], "double-free") == 0) {
    for (int i = 0; i < 2; ++i) objects[i] = malloc(64);
    void *const first = objects[0];
    for (int i = 0; i < 2; ++i) free(objects[i]);
    objects[0] = first;
    free(objects[0]);
    nebula_thread_flush();
    return 0;
  }
  CHECK(strcmp(arguments[1], "present") == 0);
  flush_empties_the_pools();
  purge_tells_what_it_gave_back();
  return 0;
}
