// Opened and closed by allocates.cpp. NAME is what its own function is called.
#include <cstdlib>

#ifdef __clang__
#define APART [[gnu::noinline]]
#else
#define APART [[gnu::noinline, gnu::noclone]]  // nor in a copy with a name of its own
#endif

APART static void* NAME(std::size_t size) {
  void* const object = std::malloc(size);
  asm volatile("" : : "r"(object) : "memory");
  return object;
}

extern "C" [[gnu::visibility("default")]] void* make(std::size_t size) {
  void* const object = NAME(size);
  asm volatile("" : : "r"(object) : "memory");
  return object;
}
