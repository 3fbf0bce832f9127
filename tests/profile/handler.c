/* A signal handler on a stack of its own allocates; what it interrupted is on the stack too. And code that no unwind table
   describes, made at run time, calls malloc with a frame pointer. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ON_STACK __attribute__((noinline, noclone))

static void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

ON_STACK void handle(int number) {
  (void)number;
  for (int i = 0; i < 4000; ++i) hide(malloc(2000));
}

ON_STACK void interrupted(void) {
  raise(SIGUSR1);
  hide(NULL);
}

ON_STACK void *called_by_made_code(size_t size) {
  void *object = hide(malloc(size));
  __asm__ volatile("" : : "r"(object) : "memory");
  return object;
}

ON_STACK void calls_made_code(void) {
  /* push %rbp; mov %rsp,%rbp; mov $2000,%edi; call *%rax (after mov $target,%rax); pop %rbp; ret */
  unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xbf, 0xd0, 0x07, 0, 0, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x5d, 0xc3};
  uintptr_t target = (uintptr_t)called_by_made_code;
  memcpy(code + 11, &target, sizeof target);
  unsigned char *place = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) exit(77);
  memcpy(place, code, sizeof code);
  for (int i = 0; i < 4000; ++i) ((void (*)(void))place)();
}

int main(void) {
  static char stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
  if (sigaltstack(&alternate, NULL) != 0 || sigaction(SIGUSR1, &action, NULL) != 0) return 3;
  interrupted();
  calls_made_code();
  return 0;
}
