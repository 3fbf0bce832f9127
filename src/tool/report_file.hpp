// A report in its JSON form (src/report/report.schema.json), read from a file.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace nebula::tool {

// Throws Failure, with the path and the reason, for what is no report of a version that this command knows. Of a file with
// one report on each line, as NEBULA_STATS_INTERVAL writes it, the last one.
[[nodiscard]] nlohmann::json read_report(const std::string& path);

// The number at "/memory/live_bytes", say; 0 where it is missing or null.
[[nodiscard]] std::uint64_t number_at(const nlohmann::json& report, const char* pointer);
[[nodiscard]] std::string words_at(const nlohmann::json& report, const char* pointer);

// The lines of the ladder, in order: what they are called, and where they stand.
struct LadderLine {
  const char* name;
  const char* pointer;
};
inline constexpr LadderLine kLadder[] = {
    {"live", "/memory/live_bytes"},         {"in pools", "/memory/pooled_bytes"},
    {"in depots", "/memory/depot_bytes"},   {"free in slabs", "/memory/slab_free_bytes"},
    {"dead in blocks", "/memory/block_dead_bytes"}, {"dirty spans", "/memory/dirty_span_bytes"}, {"metadata", "/memory/metadata_bytes"},
    {"= committed", "/memory/committed_bytes"},  {"peak committed", "/memory/committed_peak_bytes"},
    {"peak in use", "/memory/in_use_peak_bytes"}, {"peak resident", "/peak_resident_bytes"},
};

}  // namespace nebula::tool
