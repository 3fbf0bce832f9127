#include "budget/usage.hpp"

namespace nebula {

constinit Gauge bytes_in_use;

}  // namespace nebula
