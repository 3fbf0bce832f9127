/* Descriptors 0 to 2 are closed, or 2 is closed and taken by a data file (argument 2: "closed" or "replace"): nothing but
   the program's own bytes may reach the file (argument 1): no report, and no message about the double free here. */
#include "check.h"

int main(int count, char **arguments) {
  CHECK(count == 3);
  if (strcmp(arguments[2], "replace") == 0) {
    for (int i = 0; i < 3; ++i) close(i);
  }
  int file = -1;
  for (int i = 0; i < 3; ++i) file = open(arguments[1], O_RDWR | O_CREAT | O_APPEND, 0600);
  if (file != 2) _exit(3);
  for (int i = 0; i < 1000; ++i) {
    char *object = hide(malloc((size_t)i * 100));
    if (object == NULL) _exit(4);
    free(object);
  }
  void *object = hide(malloc(64));
  free(object);
  free(hide(object));
  if (write(2, "the user's data\n", 16) != 16) _exit(5);
  return 0;
}
