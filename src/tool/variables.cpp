#include "tool/variables.hpp"

#include <fmt/core.h>

#include <filesystem>

#include "tool/command.hpp"

namespace nebula::tool {

std::string flag_of(const config::Option& option) {
  std::string flag = is_switch(option) && std::string_view(switched(option)) == "0" ? "--no-" : "--";
  for (const char letter : std::string_view(option.name).substr(sizeof "NEBULA_" - 1))
    flag += letter == '_' ? '-' : static_cast<char>(letter | 0x20);
  return flag;
}

bool has_flag(const config::Option& option) {
  const std::string_view name = option.name;
  return name != "NEBULA_STATS" && name != "NEBULA_STATS_FILE" && name != "NEBULA_HELP" && name != "NEBULA_TREE";
}

bool is_switch(const config::Option& option) { return std::string_view(option.form) == "0 or 1"; }

const char* switched(const config::Option& option) { return std::string_view(option.default_value) == "1" ? "0" : "1"; }

const config::Option* find_option(std::string_view name) {
  for (const config::Option& option : config::options())
    if (name == option.name) return &option;
  return nullptr;
}

void require_understood(const config::Option& option, std::string_view value) {
  config::Config nobodys;
  if (!option.parse(value, nobodys))
    throw Failure(fmt::format("{}={} is not understood; accepted: {}", option.name, value, option.form));
}

std::vector<Setting> statistics_settings(std::string_view wish) {
  const std::size_t colon = wish.find(':');
  std::vector<Setting> settings = {{"NEBULA_STATS", std::string(wish.substr(0, colon))}};
  // Absolute, because the program may be elsewhere by the time of its report.
  if (colon != std::string_view::npos && colon + 1 < wish.size())
    settings.push_back({"NEBULA_STATS_FILE", std::filesystem::absolute(wish.substr(colon + 1))});
  else if (colon != std::string_view::npos)
    throw Failure(fmt::format("--stats {}: no file behind the colon", wish));
  for (const Setting& setting : settings) require_understood(*find_option(setting.name), setting.value);
  return settings;
}

}  // namespace nebula::tool
