// The loader's calls: before main with the environment (libc has not set `environ` for us yet), and at the end.
#include "lifecycle/lifecycle.hpp"
#include "preload/interpose.hpp"

namespace {

__attribute__((constructor(101))) void on_load(int, char**, char** environment) {
  nebula::lifecycle::start(environment);
}

__attribute__((destructor(101))) void on_unload() { nebula::lifecycle::at_exit(); }

}  // namespace

// The library does without the compiler's start files: they cost the loader four symbols to look for in every library, and a page of
// code at either end. Of what they define only this is wanted, by libc's at_quick_exit.
extern "C" {
__attribute__((visibility("hidden"))) extern void* __dso_handle;
void* __dso_handle = &__dso_handle;
}
