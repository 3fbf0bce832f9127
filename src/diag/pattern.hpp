// Names against patterns with * (any characters) and ? (one).
#pragma once

#include <string_view>

#include "diag/text.hpp"

namespace nebula {

[[nodiscard]] constexpr bool matches(std::string_view name, std::string_view pattern) {
  std::size_t at = 0;
  std::size_t p = 0;
  std::size_t star = pattern.size();  // the last one met
  std::size_t star_end = 0;           // where what it stands for ends
  while (at < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_end = at;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[at])) {
      ++p;
      ++at;
    } else if (star < pattern.size()) {
      p = star + 1;
      at = ++star_end;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace nebula
