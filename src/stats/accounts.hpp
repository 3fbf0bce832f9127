// The accounts beside the process's, as rows of a report.
#pragma once

#include "stats/snapshot.hpp"

namespace nebula::stats {

void look_at_accounts(Snapshot& s);

}  // namespace nebula::stats
