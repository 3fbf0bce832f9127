// Touches so many MiB of memory and ends: `warm MIB`. A virtual machine may give free memory back to its host after a
// second or two (free page reporting); the next program to touch it then pays for the host's faults, 10 times and more what
// a page costs else, and pays the more the larger the free blocks are that it takes. Run before each measured program,
// this makes all of them find memory in the same state. Where nothing is given back it changes nothing.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int main(int count, char** arguments)
{
  const size_t bytes = count == 2 ? strtoul(arguments[1], NULL, 10) << 20 : 0;
  if (bytes == 0) {
    fputs("usage: warm MIB\n", stderr);
    return 2;
  }
  char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("warm");
    return 1;
  }
  madvise(memory, bytes, MADV_HUGEPAGE);
  for (size_t at = 0; at < bytes; at += 4096) memory[at] = 1;
  return 0;
}
