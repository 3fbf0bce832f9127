// The loader's calls: before main with the environment (libc has not set `environ` for us yet), and at the end.
#include "lifecycle/lifecycle.hpp"
#include "nebula/nebula.h"
#include "preload/interpose.hpp"

namespace {

__attribute__((constructor(101))) void on_load(int, char**, char** environment) {
  nebula::lifecycle::start(environment);
}

__attribute__((destructor(101))) void on_unload() { nebula::lifecycle::at_exit(); }

}  // namespace

extern "C" NEBULA_EXPORT const char* nebula_version(void) { return NEBULA_VERSION; }
