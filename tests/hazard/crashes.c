/* A heap with next to nothing in it, and a crash; with an argument, a wait for whoever wants to look. */
#include "check.h"

int main(int count, char **arguments) {
  (void)arguments;
  CHECK(hide(malloc(100)) != NULL);
  CHECK(write(STDOUT_FILENO, "ready\n", 6) == 6);
  if (count > 1) pause();
  abort();
}
