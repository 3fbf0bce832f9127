// The library's option table as options of the command line: NEBULA_BUDGET_SOFT=64M is --budget-soft 64M. Whatever the
// table has, `nebula run` takes, `nebula help` explains and the shells complete.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"

namespace nebula::tool {

// "--budget-soft" for NEBULA_BUDGET_SOFT, "--no-abort-conf" for a switch that is on unless it is set to 0.
[[nodiscard]] std::string flag_of(const config::Option& option);
// Whether `nebula run` has an option of that name; those it has not are reached by --stats, or are of no use there.
[[nodiscard]] bool has_flag(const config::Option& option);
[[nodiscard]] bool is_switch(const config::Option& option);
// What the flag of a switch sets it to.
[[nodiscard]] const char* switched(const config::Option& option);
[[nodiscard]] const config::Option* find_option(std::string_view name);
// Throws Failure with the accepted form when the library would not understand the value.
void require_understood(const config::Option& option, std::string_view value);

struct Setting {
  std::string name;
  std::string value;
};
// FORM[,FORM…][:FILE] as NEBULA_STATS and NEBULA_STATS_FILE.
[[nodiscard]] std::vector<Setting> statistics_settings(std::string_view wish);

}  // namespace nebula::tool
