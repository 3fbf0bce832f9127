// allocates [LIBRARY…]: known amounts from known functions, one of them inlined; of each library's too, which is closed then. Built
// by symbolize.py in several ways. What it looks for are the lines with "line of".
#include <dlfcn.h>

#include <cstdlib>

#ifdef __clang__
#define APART [[gnu::noinline]]
#else
#define APART [[gnu::noinline, gnu::noclone]]  // nor in a copy with a name of its own
#endif

namespace shop {

struct Order {
  [[gnu::always_inline]] static inline void* item(std::size_t size) {
    void* const object = std::malloc(size);  // line of shop::Order::item
    asm volatile("" : : "r"(object) : "memory");
    return object;
  }
  APART void* fill(std::size_t size) {
    void* const object = item(size);  // line of shop::Order::fill
    asm volatile("" : : "r"(object) : "memory");
    return object;
  }
};

}  // namespace shop

namespace {

APART void* only_here(std::size_t size) {
  void* const object = std::malloc(size);  // line of only_here
  asm volatile("" : : "r"(object) : "memory");
  return object;
}

}  // namespace

int main(int count, char** words) {
  shop::Order order;
  for (int i = 0; i < 100; ++i) order.fill(96);
  for (int i = 0; i < 50; ++i) std::free(only_here(208));
  for (int i = 1; i < count; ++i) {
    void* const library = dlopen(words[i], RTLD_NOW);
    if (library == nullptr) return 2;
    const auto make = reinterpret_cast<void* (*)(std::size_t)>(dlsym(library, "make"));
    for (int made = 0; made < 10; ++made) make(320);
    if (dlclose(library) != 0) return 3;
  }
  return 0;
}
