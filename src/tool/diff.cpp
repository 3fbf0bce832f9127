// nebula diff: what changed from one report to another, the largest changes first.
#include <CLI/Option.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "tool/command.hpp"
#include "tool/numbers.hpp"
#include "tool/report_file.hpp"

namespace nebula::tool {
namespace {

using nlohmann::json;

std::int64_t change(std::uint64_t before, std::uint64_t after) { return static_cast<std::int64_t>(after - before); }

std::string percent(std::uint64_t before, std::uint64_t after) {
  if (before == after) return "";
  if (before == 0) return "new";
  return fmt::format("{:+.1f} %", 100.0 * static_cast<double>(change(before, after)) / static_cast<double>(before));
}

void print_line(const std::string& name, std::uint64_t before, std::uint64_t after) {
  fmt::print("  {:<24}{:>22}{:>22}{:>22}{:>11}\n", name, grouped(before), grouped(after), grouped_change(change(before, after)),
             percent(before, after));
}

void print_options(const json& before, const json& after) {
  const json first = before.value("options", json::object());
  const json second = after.value("options", json::object());
  std::set<std::string> names;
  for (const auto& [name, value] : first.items()) names.insert(name);
  for (const auto& [name, value] : second.items()) names.insert(name);
  for (const std::string& name : names) {
    const std::string old_value = first.contains(name) ? first[name].dump() : "not set";
    const std::string new_value = second.contains(name) ? second[name].dump() : "not set";
    if (old_value != new_value) fmt::print("  {}: {} before, {} after\n", name, old_value, new_value);
  }
}

struct Row {
  std::string name;
  std::uint64_t live_before = 0, live_after = 0, bytes_before = 0, bytes_after = 0, allocations_before = 0, allocations_after = 0;
  [[nodiscard]] bool is_same() const {
    return live_before == live_after && bytes_before == bytes_after && allocations_before == allocations_after;
  }
};

std::vector<Row> rows_of(const json& before, const json& after) {
  std::map<std::uint64_t, Row> by_size;
  for (const json& row : before.value("size_classes", json::array())) {
    Row& each = by_size[number_at(row, "/slot_bytes")];
    each.live_before = number_at(row, "/live");
    each.bytes_before = number_at(row, "/live_bytes");
    each.allocations_before = number_at(row, "/allocations");
  }
  for (const json& row : after.value("size_classes", json::array())) {
    Row& each = by_size[number_at(row, "/slot_bytes")];
    each.live_after = number_at(row, "/live");
    each.bytes_after = number_at(row, "/live_bytes");
    each.allocations_after = number_at(row, "/allocations");
  }
  std::vector<Row> rows;
  for (auto& [size, row] : by_size) {
    row.name = "size " + grouped(size);
    rows.push_back(row);
  }
  for (const char* const kind : {"large", "in_blocks", "in_handlers", "total"}) {
    const std::string place = std::string("/objects/") + kind;
    const auto at = [&place](const json& report, const char* key) { return number_at(report, (place + key).c_str()); };
    std::string name = kind;
    std::replace(name.begin(), name.end(), '_', ' ');
    rows.push_back({name, at(before, "/live"), at(after, "/live"), at(before, "/live_bytes"),
                    at(after, "/live_bytes"), at(before, "/allocations"), at(after, "/allocations")});
  }
  const auto by_change = [](const Row& a, const Row& b) {
    return std::abs(change(a.bytes_before, a.bytes_after)) > std::abs(change(b.bytes_before, b.bytes_after));
  };
  std::stable_sort(rows.begin(), rows.end() - 1, by_change);  // the total stays last
  return rows;
}

void print_difference(const std::string& before_path, const std::string& after_path) {
  const json before = read_report(before_path);
  const json after = read_report(after_path);
  for (const auto& [name, report] : {std::pair{"before", &before}, {"after", &after}})
    fmt::print("{:<7} {}, pid {}, nebula {}, {} elapsed\n", name, words_at(*report, "/program"), number_at(*report, "/process_id"),
               words_at(*report, "/nebula_version"), duration(number_at(*report, "/elapsed_milliseconds") * 1'000'000));
  print_options(before, after);
  fmt::print("\n{:<26}{:>22}{:>22}{:>22}\n", "memory, bytes", "before", "after", "change");
  for (const LadderLine& line : kLadder) print_line(line.name, number_at(before, line.pointer), number_at(after, line.pointer));
  fmt::print("\n{:<16}{:>20}{:>20}{:>20}{:>20}\n", "objects", "live before", "live after", "bytes, change", "allocations, change");
  unsigned same = 0;
  for (const Row& row : rows_of(before, after)) {
    if (row.is_same() && row.name != "total") {
      ++same;
      continue;
    }
    fmt::print("  {:<14}{:>20}{:>20}{:>20}{:>20}\n", row.name, grouped(row.live_before), grouped(row.live_after),
               grouped_change(change(row.bytes_before, row.bytes_after)), grouped_change(change(row.allocations_before, row.allocations_after)));
  }
  if (same != 0) fmt::print("  {} kinds of objects are the same in both\n", same);
}

}  // namespace

void add_diff(CommandLine& line) {
  CLI::App* const diff = line.app.add_subcommand("diff", "Compare two reports that were written with NEBULA_STATS=json.");
  const auto files = std::make_shared<std::pair<std::string, std::string>>();
  diff->add_option("BEFORE", files->first, "The report to compare with")->type_name("")->required();
  diff->add_option("AFTER", files->second, "The report to compare")->type_name("")->required();
  diff->callback([files] { print_difference(files->first, files->second); });
}

}  // namespace nebula::tool
