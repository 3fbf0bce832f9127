/* Bugs with arenas, heaps, pools and stacks: own_memory WHICH. */
#include <nebula/nebula.h>

#include "misuse.h"

static int is(const char *given, const char *name) { return strcmp(given, name) == 0; }

int main(int count, char **arguments) {
  if (count != 2) return 2;
  const char *const which = arguments[1];
  nebula_arena *arena = nebula_arena_create(NULL);
  nebula_heap *heap = nebula_heap_create(NULL), *other_heap = nebula_heap_create(NULL);
  nebula_pool *pool = nebula_pool_create(100, NULL), *other_pool = nebula_pool_create(100, NULL);
  nebula_stack *stack = nebula_stack_create(1000);
  char *in_arena = hide(nebula_arena_allocate(arena, 1000));
  char *small = hide(nebula_heap_allocate(heap, 1000));
  char *large = hide(nebula_heap_allocate(heap, 100000));
  char *pooled = hide(nebula_pool_allocate(pool));
  nebula_pool_allocate(pool);
  char *in_stack = hide(nebula_stack_allocate(stack, 100));
  char *ordinary = hide(malloc(1 << 20));

  if (is(which, "free_in_arena")) free(in_arena);
  if (is(which, "free_in_heap")) free(small);
  if (is(which, "free_large_in_heap")) free(large);
  if (is(which, "free_in_pool")) free(pooled);
  if (is(which, "free_in_stack")) free(in_stack);
  if (is(which, "free_handle")) free(hide(heap));
  if (is(which, "heap_double")) nebula_heap_allocate(heap, 1000), nebula_heap_free(heap, small), nebula_heap_free(heap, small);
  if (is(which, "heap_large_double")) nebula_heap_free(heap, large), nebula_heap_free(heap, large);
  if (is(which, "heap_interior")) nebula_heap_free(heap, small + 8);
  if (is(which, "heap_large_interior")) nebula_heap_free(heap, large + 70000);
  if (is(which, "heap_of_malloc")) nebula_heap_free(heap, ordinary);
  if (is(which, "heap_of_other")) nebula_heap_free(other_heap, small);
  if (is(which, "heap_of_stack")) nebula_heap_free(heap, (char *)&arena);
  if (is(which, "heap_resize")) hide(nebula_heap_reallocate(heap, small + 16, 5));
  if (is(which, "heap_usable")) hide((void *)nebula_heap_usable_size(heap, small + 16));
  if (is(which, "pool_double")) nebula_pool_free(pool, pooled), nebula_pool_free(pool, pooled);
  if (is(which, "pool_interior")) nebula_pool_free(pool, pooled + 16);
  if (is(which, "pool_of_other")) nebula_pool_free(other_pool, pooled);
  if (is(which, "pool_of_malloc")) nebula_pool_free(pool, ordinary);
  if (is(which, "arena_destroyed")) nebula_arena_destroy(arena), hide(nebula_arena_allocate(arena, 1));
  if (is(which, "arena_is_heap")) hide(nebula_arena_allocate((nebula_arena *)(void *)heap, 1));
  if (is(which, "heap_destroyed")) nebula_heap_destroy(heap), nebula_heap_destroy(heap);
  if (is(which, "pool_destroyed")) nebula_pool_destroy(pool), hide(nebula_pool_allocate(pool));
  if (is(which, "stack_destroyed")) nebula_stack_destroy(stack), hide(nebula_stack_allocate(stack, 1));
  return finished();
}
