// What `nebula top` shows, as lines of text: the terminal and the plain form print the same.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tool/pages.hpp"

namespace nebula::tool {

struct Line {
  enum class Style { kPlain, kTitle, kHeading } style = Style::kPlain;
  std::string text;
};

// One process of the list, with what it was at the last look, for rates.
struct Watched {
  ShownProcess shown;
  std::optional<Reading> before;
  std::optional<Reading> now;
  std::optional<ProcessFacts> facts;  // none: it has ended
};

// One line for the heading, then one for each process.
[[nodiscard]] std::vector<Line> list_view(const std::vector<Watched>& processes);
// For a terminal: sizes in short, rates since the last look, the classes that have most live bytes.
[[nodiscard]] std::vector<Line> process_view(const Watched& process, unsigned width);
// For scripts: every number exact, all classes in use, all threads; the parts add up to their sums.
[[nodiscard]] std::vector<Line> exact_view(const Watched& process);

}  // namespace nebula::tool
