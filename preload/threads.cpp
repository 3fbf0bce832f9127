// pthread_setname_np: where threads have limits by name, a new name counts at once. Then whoever is next does what was asked.
#include <pthread.h>

#include "budget/thread_limits.hpp"
#include "preload/interpose.hpp"
#include "preload/next.hpp"

extern "C" NEBULA_EXPORT int pthread_setname_np(pthread_t thread, const char* name) noexcept {
  static constinit nebula::Next<int (*)(pthread_t, const char*)> next{"pthread_setname_np"};
  const int result = next.get()(thread, name);
  // relaxed: the thread named itself, or learns from it soon.
  nebula::thread_limits::names_set.fetch_add(1, std::memory_order_relaxed);
  return result;
}
