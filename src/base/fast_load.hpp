// A relaxed load for the fast paths. Compilers keep an atomic load apart from the instruction that uses its value; as a
// plain load of an aligned word, which on x86-64 is the very same access, it becomes that instruction's memory operand: four
// instructions less in free. What is read here is read once per call, so the compiler has nothing to merge or repeat.
// ThreadSanitizer builds use the atomic load.
#pragma once

#include <atomic>

#if defined(__SANITIZE_THREAD__)
#define NEBULA_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NEBULA_THREAD_SANITIZER 1
#endif
#endif

namespace nebula {

template <class T>
[[gnu::always_inline]] inline T fast_load(const std::atomic<T>& from) {
  static_assert(sizeof(std::atomic<T>) == sizeof(T) && std::atomic<T>::is_always_lock_free);
#if defined(NEBULA_THREAD_SANITIZER)
  return from.load(std::memory_order_relaxed);
#else
  return *reinterpret_cast<const T*>(&from);
#endif
}

}  // namespace nebula
