// What changes the names that limits and profiles go by: pthread_setname_np, so that a new name counts at once, and dlclose, because another
// library may come to the very place of one that is gone. Whoever is next does what was asked.
#include <dlfcn.h>
#include <pthread.h>

#include "budget/module_limits.hpp"
#include "budget/thread_limits.hpp"
#include "preload/interpose.hpp"
#include "preload/next.hpp"
#include "profiling/code_map.hpp"

extern "C" {

NEBULA_EXPORT int pthread_setname_np(pthread_t thread, const char* name) noexcept {
  static constinit nebula::Next<int (*)(pthread_t, const char*)> next{"pthread_setname_np"};
  const int result = next.get()(thread, name);
  // relaxed: the thread named itself, or learns from it soon.
  nebula::thread_limits::names_set.fetch_add(1, std::memory_order_relaxed);
  return result;
}

NEBULA_EXPORT int dlclose(void* handle) noexcept {
  static constinit nebula::Next<int (*)(void*)> next{"dlclose"};
  const int result = next.get()(handle);
  nebula::module_limits::forget();
  nebula::profiling::code_map::note_dlclose();
  return result;
}

}  // extern "C"
