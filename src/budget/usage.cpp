#include "budget/usage.hpp"

#include "base/start_data.hpp"
#include "base/units.hpp"

namespace nebula {

// All threads write it: on lines of its own.
NEBULA_START_DATA alignas(2 * kCacheLine) constinit Gauge bytes_in_use;

}  // namespace nebula
