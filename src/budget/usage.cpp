#include "budget/usage.hpp"

#include "base/start_data.hpp"

namespace nebula {

namespace {

constinit Gauge::Part parts[Gauge::kPartsMost];

}  // namespace

NEBULA_START_DATA constinit Gauge bytes_in_use(parts);

}  // namespace nebula
