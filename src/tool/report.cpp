// nebula report: a report in its JSON form as text, or as the page for a browser that NEBULA_STATS=html would have written; a
// heap profile as a table of its largest sites.
#include <CLI/Option.hpp>
#include <fmt/core.h>

#include <fstream>

#include "report/page.hpp"
#include "tool/command.hpp"
#include "tool/numbers.hpp"
#include "tool/profile_report.hpp"
#include "tool/report_file.hpp"

namespace nebula::tool {
namespace {

using nlohmann::json;

struct Wishes {
  std::string input;
  std::string output;
  ProfileWishes profile;
};

void print_row(const std::string& name, const json& row) {
  const auto column = [&row](const char* key) { return grouped(row.contains(key) && row[key].is_number() ? row[key].get<std::uint64_t>() : 0); };
  fmt::print("  {:<14}{:>16}{:>16}{:>14}{:>18}{:>8}\n", name, column("allocations"), column("frees"), column("live"), column("live_bytes"),
             column("slabs"));
}

void print_text(const json& report) {
  fmt::print("nebula {} report: {}, pid {}, written at {}\n", words_at(report, "/nebula_version"), words_at(report, "/program"),
             number_at(report, "/process_id"), words_at(report, "/reason"));
  std::string options;
  if (report.contains("options"))
    for (const auto& [name, value] : report["options"].items()) options += ' ' + name + '=' + (value.is_string() ? value.get<std::string>() : value.dump());
  fmt::print("  options  {}\n", options.empty() ? " all default" : options);
  fmt::print("  time      {} elapsed, {} user, {} system\n", duration(number_at(report, "/elapsed_milliseconds") * 1'000'000),
             duration(number_at(report, "/user_milliseconds") * 1'000'000), duration(number_at(report, "/system_milliseconds") * 1'000'000));
  fmt::print("\nmemory, bytes\n");
  for (const LadderLine& line : kLadder) fmt::print("  {:<24}{:>22}\n", line.name, grouped(number_at(report, line.pointer)));
  if (const std::uint64_t limit = number_at(report, "/budget/hard_limit_bytes"); limit != 0)
    fmt::print("  {:<24}{:>22}\n", "budget", grouped(limit));
  fmt::print("\nobjects           allocations           frees          live        live bytes   slabs\n");
  for (const json& row : report.value("size_classes", json::array())) print_row(fmt::format("size {}", grouped(number_at(row, "/slot_bytes"))), row);
  const json objects = report.value("objects", json::object());
  print_row("all small", objects.value("small", json::object()));
  print_row("large", objects.value("large", json::object()));
  if (number_at(objects, "/in_blocks/allocations") != 0) print_row("in blocks", objects["in_blocks"]);
  if (number_at(objects, "/in_handlers/allocations") != 0) print_row("in handlers", objects["in_handlers"]);
  print_row("total", objects.value("total", json::object()));
  const json advice = report.value("advice", json::array());
  if (!advice.empty()) fmt::print("\nadvice\n");
  for (const json& words : advice) fmt::print("  {}\n", words.is_string() ? words.get<std::string>() : words.dump());
}

// The page reads its numbers from the JSON in it, which must not end the element that it stands in.
void write_page(const json& report, const std::string& path) {
  std::string text = report.dump(-1, ' ', false, json::error_handler_t::replace);
  for (std::size_t at = 0; (at = text.find("</", at)) != std::string::npos; at += 3) text.insert(at + 1, 1, '\\');
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << report::kPageBefore << text << '\n' << report::kPageBehind;
  file.close();
  if (!file) throw Failure(fmt::format("{} cannot be written", path));
}

}  // namespace

void add_report(CommandLine& line) {
  CLI::App* const report = line.app.add_subcommand("report", "Show a report that was written with NEBULA_STATS=json, or a heap profile.");
  const auto wishes = std::make_shared<Wishes>();
  report->add_option("FILE", wishes->input, "The report or profile")->type_name("")->required();
  report->add_option("-o,--output", wishes->output, "Write a page for a browser instead: one file with charts and tables")->type_name("FILE");
  add_profile_options(*report, wishes->profile);
  report->callback([wishes] {
    if (std::optional<ProfileFile> profile = find_profile(wishes->input); profile) {
      if (!wishes->output.empty())
        throw Failure(fmt::format("{} is a heap profile, which is shown as text; `nebula symbolize` writes one for other programs", wishes->input));
      print_profile(std::move(*profile), wishes->profile);
      return;
    }
    const json read = read_report(wishes->input);
    wishes->output.empty() ? print_text(read) : write_page(read, wishes->output);
  });
}

}  // namespace nebula::tool
