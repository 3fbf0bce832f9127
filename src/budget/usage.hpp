// What is in the program's hands or ready for it: slots outside their slabs, and large objects.
#pragma once

#include "budget/gauge.hpp"

namespace nebula {

extern constinit Gauge bytes_in_use;

}  // namespace nebula
