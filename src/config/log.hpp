// What is told and where: NEBULA_LOG=level[:file].
#pragma once

#include <string_view>

#include "diag/message.hpp"

namespace nebula::config {

struct Log {
  Level least = Level::kWarning;
  std::string_view file;  // a pattern, see expand_path; empty: standard error
};

// "info", "debug:/tmp/log.%p". False for anything else: log unchanged.
[[nodiscard]] bool parse_log(std::string_view text, Log& log);

// From now on. The views in `log` must last.
void begin_log(const Log& log);
// In a child of fork, for which the signs in the file's name may stand for something else.
void begin_log_in_child();

// Whether the sign stands in a file's name ("%p"), not as itself ("%%p").
[[nodiscard]] bool has_sign(std::string_view pattern, char sign);

}  // namespace nebula::config
