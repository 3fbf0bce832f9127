/* An arena for one request: everything a request needs is handed out one behind the other and freed at once, whichever way the
 * request ends. What all requests share stays: it was there before the checkpoint. */
#include <nebula/nebula.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct header {
  struct header *next;
  char *name, *value;
};

static char *copy(nebula_arena *arena, const char *text, size_t length) {
  char *to = nebula_arena_allocate(arena, length + 1);
  if (to == NULL) return NULL;
  memcpy(to, text, length);
  to[length] = '\0';
  return to;
}

/* Parses "name=value;name=value"; no path out of here frees anything. */
static int answer(nebula_arena *arena, const char *request) {
  struct header *headers = NULL;
  for (const char *at = request; *at != '\0';) {
    const size_t length = strcspn(at, ";"), name = strcspn(at, "=;");
    if (name == length) return -1;
    struct header *header = nebula_arena_allocate(arena, sizeof *header);
    if (header == NULL) return -1;
    *header = (struct header){headers, copy(arena, at, name), copy(arena, at + name + 1, length - name - 1)};
    if (header->name == NULL || header->value == NULL) return -1;
    headers = header;
    at += length + (at[length] == ';');
  }
  for (; headers != NULL; headers = headers->next) printf("  %s is %s\n", headers->name, headers->value);
  return 0;
}

int main(void) {
  static const char *const requests[] = {"host=example.org;path=/", "broken", "host=example.org;path=/news;language=en"};
  if (!nebula_arena_create) return puts("this example needs libnebula.so"), 0;

  const struct nebula_arena_options options = {.size = sizeof options, .limit_bytes = 1 << 20};
  nebula_arena *arena = nebula_arena_create(&options);
  if (arena == NULL) return 1;
  const struct nebula_checkpoint start = nebula_arena_checkpoint(arena);
  for (size_t i = 0; i < sizeof requests / sizeof *requests; ++i) {
    printf("request %zu\n", i + 1);
    if (answer(arena, requests[i]) != 0) puts("  refused");
    if (nebula_arena_restore(arena, start) != 0) return 1;
  }

  struct nebula_usage usage = {.size = sizeof usage};
  nebula_arena_usage(arena, &usage);
  printf("%" PRIu64 " objects are left, %" PRIu64 " KiB are held for the next request\n", usage.objects, usage.held_bytes / 1024);
  nebula_arena_destroy(arena);
  return 0;
}
