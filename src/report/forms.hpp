// The forms of a report: each writes one snapshot, and reads nothing else but the option table.
#pragma once

#include "diag/text.hpp"
#include "stats/snapshot.hpp"

namespace nebula::report {

void write_text(Text& text, const stats::Snapshot& snapshot);

}  // namespace nebula::report
