// Start, fork and exit of the process.
#pragma once

#include "base/start_data.hpp"

namespace nebula::lifecycle {

// Reads the configuration, sets the limits, registers for fork and exit. Called by the loader before main, once; a
// limit that cannot be understood ends the process with status 78 here.
NEBULA_START_CODE void start(const char* const* environment);
void at_exit();
// From preload/: before the ends that run no destructor.
void before_underscore_exit();
void before_execve();

}  // namespace nebula::lifecycle
