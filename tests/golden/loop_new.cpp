// The same for operator new and delete: loop_new KIND SIZE TIMES.
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

void *hide(void *pointer) {
  __asm__ volatile("" : "+r"(pointer) : : "memory");
  return pointer;
}

}  // namespace

extern "C" [[gnu::noinline]] void measure_new(std::size_t size, long times) {
  for (long i = 0; i < times; ++i) ::operator delete(hide(::operator new(size)));
}

extern "C" [[gnu::noinline]] void measure_new_sized(std::size_t size, long times) {
  for (long i = 0; i < times; ++i) ::operator delete(hide(::operator new(size)), size);
}

extern "C" [[gnu::noinline]] void measure_new_aligned(std::size_t size, long times) {
  constexpr std::align_val_t kAlignment{64};
  for (long i = 0; i < times; ++i) ::operator delete(hide(::operator new(size, kAlignment)), kAlignment);
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  const std::size_t size = std::strtoul(arguments[2], nullptr, 10);
  const long times = std::strtol(arguments[3], nullptr, 10);
  if (std::strcmp(arguments[1], "new") == 0) measure_new(size, times);
  if (std::strcmp(arguments[1], "new_sized") == 0) measure_new_sized(size, times);
  if (std::strcmp(arguments[1], "new_aligned") == 0) measure_new_aligned(size, times);
}
