/* No teardown: handlers of atexit and destructors, early and late, free what was allocated before and allocate anew,
   while threads go on. Argument: how to end ("exit", "return", "quick_exit", "_exit", "abort"). */
#include "churn.h"

#include <pthread.h>

static char *before_start, *in_main;
static atomic_int stop;

static void use(char **object) {
  CHECK((*object)[0] == 'x');
  free(*object);
  CHECK((*object = hide(malloc(5000))) != NULL);
  (*object)[0] = 'x';
  churn_steps(4, 2000);
}

static void from_atexit(void) { use(&in_main); }
static void from_quick_exit(void) { use(&in_main); }

__attribute__((constructor(101))) static void first_constructor(void) {
  before_start = hide(malloc(100));
  before_start[0] = 'x';
  in_main = hide(malloc(100000));
  in_main[0] = 'x';
}

__attribute__((destructor(101))) static void last_destructor(void) {
  use(&before_start);
  use(&in_main);
  CHECK(write(STDOUT_FILENO, "destructor\n", 11) == 11);
}

int main(int count, char **arguments) {
  CHECK(count == 2);
  CHECK(atexit(from_atexit) == 0);
  CHECK(at_quick_exit(from_quick_exit) == 0);
  for (int i = 0; i < 2; ++i) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, churn_until, &stop) == 0);
  }
  churn_steps(1, 1000);
  if (strcmp(arguments[1], "exit") == 0) exit(7);
  if (strcmp(arguments[1], "quick_exit") == 0) quick_exit(7);
  if (strcmp(arguments[1], "_exit") == 0) _exit(7);
  if (strcmp(arguments[1], "abort") == 0) abort();
  CHECK(strcmp(arguments[1], "return") == 0);
  return 7;
}
