// The forms of a report: each writes one snapshot, and reads nothing else but the option table.
#pragma once

#include "diag/text.hpp"
#include "report/json_writer.hpp"
#include "stats/snapshot.hpp"

namespace nebula::report {

// The version of the JSON form; see report.schema.json for what makes it rise.
inline constexpr unsigned kSchemaVersion = 2;

enum class Reason : std::uint8_t { kExit, kRequest, kSignal, kInterval, kBudget, kAbort, kCrash, kUnderscoreExit, kExecve };
[[nodiscard]] std::string_view name_of(Reason reason);

struct Occasion {
  Reason reason = Reason::kExit;
  std::uint64_t sequence = 0;  // from 1
  std::uint64_t at_milliseconds = 0;  // since 1970
};

void write_text(Text& text, const Occasion& occasion, const stats::Snapshot& snapshot);
// Without the timeline on one line: there, the lines are one.
void write_json(Text& text, const Occasion& occasion, const stats::Snapshot& snapshot, Layout layout);
void write_prometheus(Text& text, const Occasion& occasion, const stats::Snapshot& snapshot);
// The part of the text about NUMA nodes; nothing where there is one.
void write_nodes(Text& text, const stats::Nodes& nodes);
void write_html(Text& text, const Occasion& occasion, const stats::Snapshot& snapshot);

}  // namespace nebula::report
