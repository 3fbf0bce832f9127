#include "tool/report_file.hpp"

#include <fmt/core.h>

#include <fstream>
#include <iterator>

#include "tool/command.hpp"

namespace nebula::tool {
namespace {

using nlohmann::json;
constexpr int kSchemaVersion = 2;

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) throw Failure(fmt::format("{} cannot be read", path));
  return text;
}

std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const std::size_t end = text.rfind('\n');
  return end == std::string::npos ? text : text.substr(end + 1);
}

}  // namespace

json read_report(const std::string& path) {
  const std::string text = read_text(path);
  json report = json::parse(text, nullptr, false);
  if (report.is_discarded()) report = json::parse(last_line(text), nullptr, false);
  if (report.is_discarded()) throw Failure(fmt::format("{} is no JSON; a report for this command is written with NEBULA_STATS=json", path));
  if (!report.is_object() || report.value("format", json()) != "nebula-report")
    throw Failure(fmt::format("{} is no report of Nebula: it has no \"format\": \"nebula-report\"", path));
  const json version = report.value("schema_version", json());
  if (version != kSchemaVersion)
    throw Failure(fmt::format("{} has schema version {}, and this nebula reads {}", path, version.dump(), kSchemaVersion));
  return report;
}

std::uint64_t number_at(const json& report, const char* pointer) {
  const json::json_pointer place(pointer);
  if (!report.contains(place)) return 0;
  const json& value = report.at(place);
  return value.is_number() ? value.get<std::uint64_t>() : 0;
}

std::string words_at(const json& report, const char* pointer) {
  const json::json_pointer place(pointer);
  if (!report.contains(place) || !report.at(place).is_string()) return "unknown";
  std::string words = report.at(place).get<std::string>();
  for (char& letter : words)
    if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) letter = '?';
  return words;
}

}  // namespace nebula::tool
