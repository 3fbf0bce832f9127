#include "budget/usage.hpp"

#include "base/start_data.hpp"

namespace nebula {

NEBULA_START_DATA constinit Gauge bytes_in_use;

}  // namespace nebula
