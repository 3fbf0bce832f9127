/* What the programs that know of Nebula share. */
#ifndef NEBULA_TESTS_HEADER_CHECK_H
#define NEBULA_TESTS_HEADER_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

#endif
