/* What the kernel says of a program's memory, for whoever runs it to judge.
   pages purge [BYTES]  64 MiB of objects (large ones, or of this size), filled and freed: MiB resident then, after 0.4 s and after 1.6 s of
                        small work, and MiB that the system takes first when it is short (lazy)
   pages faults MIB     resident MiB at the start, page faults while MIB of objects are filled
   pages locked MIB     MiB locked while MIB of objects are held, in the process and in a child of its fork
   pages pool MIB       MiB of the pool of huge pages while MIB of objects are held, grown and freed
   pages huge MIB       MIB of objects: MiB of the mappings where huge pages are wanted, and where they are not
   pages sparse HOW     64 MiB of small objects, all but one in 64 of them freed, which leaves each slab in use: MiB resident full, and
                        then after malloc_trim (trim), 64 MiB of objects of another size (grow), or 4 s of small work (work) */
#include "check.h"

#include <malloc.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static size_t object_size = 130000; /* nearly whole units, so that huge pages pay */
static void *objects[20000];

static size_t resident_mib(void) {
  char text[256] = "";
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0);
  close(file);
  return strtoul(strchr(text, ' '), NULL, 10) * 4096 / MIB;
}

static size_t in_rollup(const char *name) {
  char text[4096] = "";
  int file = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0);
  close(file);
  const char *line = strstr(text, name);
  CHECK(line != NULL);
  return strtoul(line + strlen(name), NULL, 10);
}

static size_t fill(size_t mib) {
  size_t count = mib * MIB / object_size;
  CHECK(count <= sizeof objects / sizeof *objects);
  for (size_t i = 0; i < count; ++i) {
    objects[i] = hide(malloc(object_size));
    CHECK(objects[i] != NULL);
    memset(objects[i], 1, object_size);
  }
  return count;
}

/* Allocates and frees a little for so long. */
static void work(long milliseconds) {
  const struct timespec pause = {0, 20 * 1000 * 1000};
  for (long t = 0; t < milliseconds; t += 20) {
    for (int i = 0; i < 100; ++i) free(hide(malloc(40000 + (size_t)i)));
    nanosleep(&pause, NULL);
  }
}

static size_t more_than(size_t before) {
  size_t now = resident_mib();
  return now > before ? now - before : 0;
}

static void purge(void) {
  size_t before = resident_mib(), count = fill(64);
  for (size_t i = 0; i < count; ++i) free(objects[i]);
  printf("before %zu freed %zu", before, more_than(before));
  work(400);
  printf(" soon %zu", more_than(before));
  work(1200);
  printf(" late %zu lazy %zu\n", more_than(before), in_rollup("LazyFree:") / 1024);
}

static void faults(size_t mib) {
  struct rusage before, after;
  CHECK(getrusage(RUSAGE_SELF, &before) == 0);
  printf("resident %zu", resident_mib());
  fill(mib);
  CHECK(getrusage(RUSAGE_SELF, &after) == 0);
  printf(" faults %ld\n", after.ru_minflt - before.ru_minflt);
}

static size_t locked_mib(void) {
  char text[8192] = "";
  int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0);
  close(file);
  return strtoul(strstr(text, "VmLck:") + 6, NULL, 10) / 1024;
}

static void locked(size_t mib) {
  size_t count = fill(mib);
  printf("locked %zu", locked_mib());
  fflush(stdout);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    for (size_t i = 0; i < count; ++i) free(objects[i]);
    fill(mib);
    printf(" child %zu\n", locked_mib());
    fflush(stdout);
    _exit(0);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void pool(size_t mib) {
  size_t count = fill(mib);
  for (size_t i = 0; i < count; i += 7) {
    objects[i] = hide(realloc(objects[i], object_size * 9));
    CHECK(objects[i] != NULL && ((char *)objects[i])[object_size - 1] == 1);
  }
  printf("pool %zu\n", in_rollup("Private_Hugetlb:") / 1024);
  for (size_t i = 0; i < count; ++i) free(objects[i]);
  char *zeros = hide(calloc(1, 8 * MIB));
  for (size_t i = 0; i < 8 * MIB; ++i) CHECK(zeros[i] == 0);
}

static void huge(size_t mib) {
  fill(mib);
  FILE *maps = fopen("/proc/self/smaps", "re");
  CHECK(maps != NULL);
  static char line[8192];
  size_t size = 0, wanted = 0, unwanted = 0;
  while (fgets(line, sizeof line, maps) != NULL) {
    if (strncmp(line, "Size:", 5) == 0) size = strtoul(line + 5, NULL, 10);
    if (strncmp(line, "VmFlags:", 8) != 0) continue;
    if (strstr(line, " hg") != NULL) wanted += size;
    if (strstr(line, " nh") != NULL) unwanted += size;
  }
  fclose(maps);
  printf("wanted %zu unwanted %zu\n", wanted / 1024, unwanted / 1024);
}

static void sparse(const char *how) {
  enum { kSmall = 1000, kOther = 3000, kCount = 64 * 1024 };
  static size_t *small[kCount], *other[kCount * kSmall / kOther];
  size_t before = resident_mib();
  for (size_t i = 0; i < kCount; ++i) {
    CHECK((small[i] = hide(malloc(kSmall))) != NULL);
    for (size_t k = 0; k < kSmall / sizeof(size_t); ++k) small[i][k] = i;
  }
  printf("full %zu", more_than(before));
  for (size_t i = 0; i < kCount; ++i)
    if (i % 64 != 0) free(small[i]);
  if (strcmp(how, "trim") == 0) CHECK(malloc_trim(0) == 1);
  if (strcmp(how, "work") == 0) work(4000);
  if (strcmp(how, "grow") == 0)
    for (size_t i = 0; i < sizeof other / sizeof *other; ++i) {
      CHECK((other[i] = hide(malloc(kOther))) != NULL);
      memset(other[i], 1, kOther);
    }
  printf(" then %zu\n", more_than(before));
  for (size_t i = 0; i < sizeof other / sizeof *other; ++i) free(other[i]);
  for (size_t i = 0; i < kCount; ++i) {
    if (i % 64 != 0) CHECK((small[i] = hide(calloc(1, kSmall))) != NULL);
    for (size_t k = 0; k < kSmall / sizeof(size_t); ++k) CHECK(small[i][k] == (i % 64 != 0 ? 0 : i));
  }
}

int main(int count, char **arguments) {
  CHECK(count > 1);
  if (strcmp(arguments[1], "purge") == 0 && count == 3) object_size = strtoul(arguments[2], NULL, 10);
  if (strcmp(arguments[1], "purge") == 0) purge();
  else if (strcmp(arguments[1], "faults") == 0) faults(strtoul(arguments[2], NULL, 10));
  else if (strcmp(arguments[1], "locked") == 0) locked(strtoul(arguments[2], NULL, 10));
  else if (strcmp(arguments[1], "sparse") == 0) sparse(arguments[2]);
  else if (strcmp(arguments[1], "pool") == 0) pool(strtoul(arguments[2], NULL, 10));
  else huge(strtoul(arguments[2], NULL, 10));
  return 0;
}
