// The least that a dynamically linked program does: one small allocation and the end.
#include <stdlib.h>

int main(void)
{
  char* volatile place = malloc(16);
  free(place);
  return 0;
}
