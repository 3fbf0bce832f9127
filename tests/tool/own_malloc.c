/* A program with a malloc of its own linked into it, as some have: it comes before any that is preloaded. */
#include <stddef.h>
#include <string.h>

static _Alignas(16) char room[1 << 20];
static size_t used;

void *malloc(size_t size) {
  void *object = room + used;
  used += (size + 15) / 16 * 16;
  return used <= sizeof room ? object : NULL;
}
void *calloc(size_t count, size_t size) { return malloc(count * size); }
void *realloc(void *object, size_t size) {
  void *result = malloc(size);
  return object != NULL && result != NULL ? memcpy(result, object, size) : result;
}
void free(void *object) { (void)object; }

int main(void) {
  void *volatile object = malloc(100);
  return object == NULL;
}
