// The function of the same name that would have been called without this library: another preloaded library's, or libc's.
// Looked up at the first call.
#pragma once

#include <dlfcn.h>

#include <atomic>

#include "diag/message.hpp"

namespace nebula {

template <class Function>
class Next {
 public:
  constexpr explicit Next(const char* name) : name_(name) {}

  [[nodiscard]] Function get() {
    // relaxed: a pointer to code that was always there; whoever looks it up twice finds the same.
    Function function = function_.load(std::memory_order_relaxed);
    if (function == nullptr) {
      function = reinterpret_cast<Function>(dlsym(RTLD_NEXT, name_));
      if (function == nullptr) fatal::broken(name_);
      function_.store(function, std::memory_order_relaxed);
    }
    return function;
  }

 private:
  const char* name_;
  std::atomic<Function> function_{nullptr};
};

}  // namespace nebula
