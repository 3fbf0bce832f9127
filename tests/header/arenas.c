/* Arenas, heaps, pools and stacks by call: what C programs see, and every argument that is none. */
#include <nebula/nebula.h>

#include <errno.h>
#include <string.h>

#include "check.h"

static struct nebula_usage usage = {.size = sizeof usage};

static void an_arena_goes_back_to_its_checkpoints(void) {
  nebula_arena *arena = nebula_arena_create(NULL);
  CHECK(arena != NULL);
  char *kept = nebula_arena_allocate(arena, 100);
  CHECK(kept != NULL);
  memset(kept, 7, 100);
  const struct nebula_checkpoint checkpoint = nebula_arena_checkpoint(arena);
  const unsigned char *zeros = nebula_arena_allocate_zeroed(arena, 100, 100);
  CHECK(zeros != NULL);
  for (int i = 0; i < 10000; ++i) CHECK(zeros[i] == 0);
  memset(nebula_arena_allocate(arena, 200000), 9, 200000);
  CHECK((uintptr_t)nebula_arena_allocate_aligned(arena, 4096, 1) % 4096 == 0);
  const struct nebula_checkpoint later = nebula_arena_checkpoint(arena);
  CHECK(nebula_arena_usage(arena, &usage) == 0 && usage.objects == 4 && usage.used_bytes >= 210000);
  CHECK(usage.held_bytes >= usage.used_bytes);
  CHECK(nebula_arena_restore(arena, checkpoint) == 0);
  CHECK(nebula_arena_usage(arena, &usage) == 0 && usage.objects == 1 && usage.used_bytes == 112);
  CHECK(nebula_arena_restore(arena, later) == ESTALE);
  struct nebula_checkpoint never = later;
  never.number += 100;
  CHECK(nebula_arena_restore(arena, never) == ERANGE);
  CHECK(nebula_arena_restore(arena, (struct nebula_checkpoint){0, 0}) == EINVAL);
  nebula_arena *other = nebula_arena_create(NULL);
  CHECK(nebula_arena_restore(other, checkpoint) == EINVAL);
  nebula_arena_destroy(other);
  CHECK(nebula_arena_usage(arena, &usage) == 0 && usage.objects == 1);
  for (int i = 0; i < 100; ++i) CHECK(kept[i] == 7);
  CHECK(nebula_arena_reserve(arena, 1 << 20) == 0);
  CHECK(nebula_arena_reserve(arena, SIZE_MAX) == ENOMEM);
  nebula_arena_reset(arena);
  CHECK(nebula_arena_usage(arena, &usage) == 0 && usage.objects == 0);
  CHECK(nebula_arena_restore(arena, checkpoint) == ESTALE);
  CHECK(nebula_arena_allocate_aligned(arena, 48, 1) == NULL && nebula_arena_allocate_aligned(arena, 0, 1) == NULL);
  CHECK(nebula_arena_allocate_zeroed(arena, SIZE_MAX / 2, 3) == NULL);
  nebula_arena_destroy(arena);

  const struct nebula_arena_options options = {.size = sizeof options, .block_bytes = 1 << 20, .limit_bytes = 2 << 20};
  arena = nebula_arena_create(&options);
  CHECK(nebula_arena_usage(arena, &usage) == 0 && usage.held_bytes == 1 << 20);
  while (nebula_arena_allocate(arena, 1000) != NULL) {
  }
  CHECK(nebula_arena_usage(arena, &usage) == 0 && usage.held_bytes == 2 << 20);
  nebula_arena_destroy(arena);
}

static void a_heap_frees_one_or_all(void) {
  nebula_heap *heap = nebula_heap_create(NULL);
  char *object = nebula_heap_allocate(heap, 100);
  CHECK(object != NULL && nebula_heap_usable_size(heap, object) >= 100);
  strcpy(object, "kept");
  object = nebula_heap_reallocate(heap, object, 100000);
  CHECK(object != NULL && strcmp(object, "kept") == 0);
  CHECK(nebula_heap_reallocate(heap, object, SIZE_MAX) == NULL && strcmp(object, "kept") == 0);
  CHECK(nebula_heap_reallocate(heap, object, 0) == NULL);
  CHECK(nebula_heap_usage(heap, &usage) == 0 && usage.objects == 0);
  char *other = nebula_heap_reallocate(heap, NULL, 10);
  CHECK(other != NULL);
  nebula_heap_free(heap, other);
  nebula_heap_free(heap, NULL);
  CHECK(nebula_heap_usable_size(heap, NULL) == 0);
  CHECK((uintptr_t)nebula_heap_allocate_aligned(heap, 1 << 17, 10) % (1 << 17) == 0);
  CHECK(nebula_heap_allocate_aligned(heap, 3, 10) == NULL);
  const char *zeros = nebula_heap_allocate_zeroed(heap, 10, 10);
  for (int i = 0; i < 100; ++i) CHECK(zeros[i] == 0);
  CHECK(nebula_heap_allocate_zeroed(heap, SIZE_MAX / 2, 3) == NULL);
  CHECK(nebula_heap_usage(heap, &usage) == 0 && usage.objects == 2);
  nebula_heap_destroy(heap);
}

static void a_pool_gives_places_again(void) {
  const struct nebula_pool_options options = {.size = sizeof options, .alignment = 64};
  nebula_pool *pool = nebula_pool_create(100, &options);
  void *first = nebula_pool_allocate(pool), *second = nebula_pool_allocate(pool);
  CHECK(first != NULL && second != NULL && first != second);
  CHECK((uintptr_t)first % 64 == 0 && (uintptr_t)second % 64 == 0);
  nebula_pool_free(pool, first);
  nebula_pool_free(pool, NULL);
  CHECK(nebula_pool_allocate(pool) == first);
  CHECK(nebula_pool_usage(pool, &usage) == 0 && usage.objects == 2 && usage.used_bytes == 256);
  nebula_pool_destroy(pool);
  const struct nebula_pool_options bad = {.size = sizeof bad, .alignment = 48};
  CHECK(nebula_pool_create(100, &bad) == NULL && nebula_pool_create(SIZE_MAX, NULL) == NULL);
}

static void a_stacks_frames_end_in_order(void) {
  nebula_stack *stack = nebula_stack_create(1000);
  struct nebula_frame outer, inner;
  CHECK(nebula_stack_begin_frame(stack, &outer) == 0);
  CHECK(nebula_stack_allocate(stack, 100) != NULL);
  CHECK((uintptr_t)nebula_stack_allocate_aligned(stack, 128, 1) % 128 == 0);
  CHECK(nebula_stack_begin_frame(stack, &inner) == 0);
  CHECK(nebula_stack_end_frame(stack, outer) == EBUSY);
  CHECK(nebula_stack_end_frame(stack, inner) == 0);
  CHECK(nebula_stack_end_frame(stack, inner) == ESTALE);
  CHECK(nebula_stack_end_frame(stack, (struct nebula_frame){0, 0}) == EINVAL);
  inner.number += 5;
  CHECK(nebula_stack_end_frame(stack, inner) == ERANGE);
  CHECK(nebula_stack_end_frame(stack, outer) == 0);
  CHECK(nebula_stack_usage(stack, &usage) == 0 && usage.objects == 0 && usage.used_bytes == 0 && usage.used_peak_bytes != 0);
  while (nebula_stack_allocate(stack, 16) != NULL) {
  }
  CHECK(nebula_stack_begin_frame(stack, &outer) == ENOMEM && nebula_stack_begin_frame(stack, NULL) == EINVAL);
  CHECK(nebula_stack_allocate_aligned(stack, 3, 1) == NULL);
  nebula_stack_destroy(stack);
}

static void no_handle_is_none(void) {
  struct nebula_frame frame = {0, 0};
  CHECK(nebula_arena_allocate(NULL, 1) == NULL && nebula_arena_allocate_aligned(NULL, 16, 1) == NULL);
  CHECK(nebula_arena_allocate_zeroed(NULL, 1, 1) == NULL && nebula_arena_reserve(NULL, 1) == EINVAL);
  CHECK(nebula_arena_restore(NULL, nebula_arena_checkpoint(NULL)) == EINVAL && nebula_arena_usage(NULL, &usage) == EINVAL);
  nebula_arena_reset(NULL);
  nebula_arena_destroy(NULL);
  CHECK(nebula_heap_allocate(NULL, 1) == NULL && nebula_heap_allocate_aligned(NULL, 16, 1) == NULL);
  CHECK(nebula_heap_allocate_zeroed(NULL, 1, 1) == NULL && nebula_heap_reallocate(NULL, NULL, 1) == NULL);
  CHECK(nebula_heap_usable_size(NULL, &frame) == 0 && nebula_heap_usage(NULL, &usage) == EINVAL);
  nebula_heap_free(NULL, &frame);
  nebula_heap_destroy(NULL);
  CHECK(nebula_pool_allocate(NULL) == NULL && nebula_pool_usage(NULL, &usage) == EINVAL);
  nebula_pool_free(NULL, &frame);
  nebula_pool_destroy(NULL);
  CHECK(nebula_stack_allocate(NULL, 1) == NULL && nebula_stack_allocate_aligned(NULL, 16, 1) == NULL);
  CHECK(nebula_stack_begin_frame(NULL, &frame) == EINVAL && nebula_stack_end_frame(NULL, frame) == EINVAL);
  CHECK(nebula_stack_usage(NULL, &usage) == EINVAL);
  nebula_stack_destroy(NULL);
}

/* What a program that was built with an older or a newer header has. */
static void wishes_that_are_not_known_are_refused(void) {
  struct {
    struct nebula_heap_options options;
    uint64_t of_a_newer_header[2];
  } longer = {.options = {.size = sizeof longer}};
  nebula_heap *heap = nebula_heap_create(&longer.options);
  CHECK(heap != NULL);
  CHECK(nebula_heap_usage(heap, NULL) == EINVAL);
  struct nebula_usage none = {.size = 0};
  CHECK(nebula_heap_usage(heap, &none) == EINVAL);
  nebula_heap_destroy(heap);
  longer.of_a_newer_header[1] = 1;
  CHECK(nebula_heap_create(&longer.options) == NULL);
  longer.options.size = 0;
  CHECK(nebula_heap_create(&longer.options) == NULL);
  const struct nebula_arena_options shorter = {.size = offsetof(struct nebula_arena_options, limit_bytes), .limit_bytes = 1};
  nebula_arena *arena = nebula_arena_create(&shorter);
  CHECK(arena != NULL);
  nebula_arena_destroy(arena);
}

/* Under the budget of NEBULA_BUDGET=16M. */
static void all_of_it_counts_in_the_budget(void) {
  static nebula_arena *arenas[1000];
  int made = 0;
  errno = EDOM;
  while ((arenas[made] = nebula_arena_create(NULL)) != NULL) ++made;
  CHECK(errno == EDOM);
  CHECK(made > 200 && made <= 256);
  struct nebula_budget budget = {.size = sizeof budget};
  CHECK(nebula_budget_get(&budget) == 0 && budget.refusals == 1 && budget.committed_bytes <= budget.limit_bytes);
  for (int i = 0; i < made; ++i) nebula_arena_destroy(arenas[i]);
}

int main(void) {
  all_of_it_counts_in_the_budget();
  errno = EDOM;
  an_arena_goes_back_to_its_checkpoints();
  a_heap_frees_one_or_all();
  a_pool_gives_places_again();
  a_stacks_frames_end_in_order();
  no_handle_is_none();
  wishes_that_are_not_known_are_refused();
  CHECK(errno == EDOM);
  return 0;
}
