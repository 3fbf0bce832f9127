/* A small program has little of the library itself resident: the kernel maps a library's pages in groups of 16 around each that is
   touched, at a multiple of as many, so what every program runs lies together and begins at such a place (preload/order.ld), and large tables are
   in no file. 520 KiB at first, 176 to 232 in the right order, by chance; 212 where it begins so: one group of constants and what the loader
   reads, two of code, five pages of data. */
#include "check.h"

static char text[1 << 16];

/* KiB resident of the mappings of the file whose name has this in it. */
static size_t resident_of(const char *name) {
  int file = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC), is_its = 0;
  size_t kib = 0, length = 0;
  CHECK(file >= 0);
  for (ssize_t got; (got = read(file, text + length, sizeof text - 1 - length)) > 0; length += (size_t)got)
    CHECK(length + 1 < sizeof text);
  close(file);
  for (char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
    char *end = strchr(line, '\n');
    *end = '\0';
    unsigned long long from, to, rss;
    if (sscanf(line, "%llx-%llx ", &from, &to) == 2) is_its = strstr(line, name) != NULL;
    if (is_its && sscanf(line, "Rss: %llu kB", &rss) == 1) kib += rss;
    *end = '\n';
  }
  return kib;
}

int main(void) {
  for (size_t size = 1; size < 2000000; size *= 3) {
    char *object = hide(malloc(size));
    CHECK(object != NULL);
    CHECK((object = hide(realloc(object, size * 2))) != NULL);
    free(object);
    free(hide(calloc(1, size)));
  }
  size_t kib = resident_of("libnebula.so");
  CHECK(kib > 0);
  if (kib > 220) fprintf(stderr, "%zu KiB of libnebula.so are resident\n", kib);
  return kib > 220;
}
