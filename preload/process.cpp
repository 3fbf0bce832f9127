// The loader's calls: before main with the environment (libc has not set `environ` for us yet), and at the end.
#include "lifecycle/lifecycle.hpp"
#include "preload/interpose.hpp"

namespace {

__attribute__((constructor(101))) void on_load(int, char**, char** environment) {
  nebula::lifecycle::start(environment);
}

__attribute__((destructor(101))) void on_unload() { nebula::lifecycle::at_exit(); }

}  // namespace
