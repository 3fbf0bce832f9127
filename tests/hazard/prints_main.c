/* Prints a line from main and allocates a little; for the tests of variables, where main must be reached or must not. */
#include "check.h"

int main(void) {
  free(hide(malloc(1000)));
  puts("main");
  return 0;
}
