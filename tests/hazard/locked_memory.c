/* mlockall(MCL_CURRENT | MCL_FUTURE): reservations are neither filled nor refused. Argument "unprivileged": as a user
   with a limit on locked memory, of which half must be usable beside the program itself; beyond it the answer is null,
   not a signal. */
#include "check.h"

#include <sys/mman.h>
#include <sys/resource.h>

static const size_t kMostLocked = 64 * MIB, kProgramItself = 5 * MIB;
static const size_t kStep = 64 * MIB; /* of mappings that a heap of this size may take in advance */

static size_t locked_bytes(void) {
  char text[8192] = "";
  int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  CHECK(file >= 0 && read(file, text, sizeof text - 1) > 0);
  close(file);
  const char *line = strstr(text, "VmLck:");
  CHECK(line != NULL);
  return strtoul(line + 6, NULL, 10) * 1024;
}

int main(int count, char **arguments) {
  const int unprivileged = count > 1 && strcmp(arguments[1], "unprivileged") == 0;
  struct rlimit lockable;
  CHECK(getrlimit(RLIMIT_MEMLOCK, &lockable) == 0);
  if (unprivileged) {
    if (lockable.rlim_max > kMostLocked) lockable.rlim_max = kMostLocked;
    lockable.rlim_cur = lockable.rlim_max;
    CHECK(lockable.rlim_cur > kProgramItself);
    CHECK(setrlimit(RLIMIT_MEMLOCK, &lockable) == 0);
    CHECK(setresuid(65534, 65534, 65534) == 0);
  }
  free(hide(malloc(100)));
  CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);

  size_t before = locked_bytes(), allocated = 0;
  while (unprivileged || allocated < 256 * MIB) {
    size_t size = allocated % 3 == 0 ? 120000 : 1000;
    char *object = hide(malloc(size));
    if (object == NULL) break;
    memset(object, 1, size);
    allocated += size;
  }
  if (unprivileged) {
    CHECK(errno == ENOMEM);
    CHECK(allocated >= (lockable.rlim_cur - kProgramItself) / 2);
  } else {
    CHECK(locked_bytes() <= before + allocated + allocated / 4 + kStep);
  }
  return 0;
}
