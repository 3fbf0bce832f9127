#include "config/routes.hpp"

#include "config/config.hpp"

namespace nebula::config {
namespace {

// "16-1024", "32769-", "-1024", "4096".
bool parse_sizes(std::string_view text, std::uint64_t most, RouteRange& range) {
  const std::size_t dash = text.find('-');
  const std::string_view first = start_of(text, dash);
  const std::string_view last = dash == std::string_view::npos ? first : after(text, dash + 1);
  if (first.empty() && last.empty()) return false;
  range.first = 0;
  range.last = most;
  if (!first.empty() && !parse_size(first, range.first)) return false;
  if (!last.empty() && !parse_size(last, range.last)) return false;
  return range.first <= range.last && range.last <= most;
}

bool parse_range(std::string_view text, RouteRange& range) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view route = after(text, colon + 1);
  if (route == "pool") range.route = Route::kPool;
  else if (route == "bump") range.route = Route::kBump;
  else if (route == "node") range.route = Route::kNode;
  else return false;
  return parse_sizes(start_of(text, colon), range.route == Route::kNode ? ~std::uint64_t{0} : kRoutedMost, range);
}

}  // namespace

bool parse_routes(std::string_view text, Routes& result) {
  Routes routes;
  if (text == "bump") {
    routes.ranges[routes.count++] = {0, kRoutedMost, Route::kBump};
  } else if (text == "auto") {
    routes.is_auto = true;
  } else if (text != "pool") {
    for (bool is_last = false; !is_last;) {
      const std::size_t comma = text.find(',');
      is_last = comma == std::string_view::npos;
      RouteRange range;
      if (routes.count == kRouteRangesMost || !parse_range(start_of(text, comma), range)) return false;
      for (std::size_t i = 0; i < routes.count; ++i)
        if (range.first <= routes.ranges[i].last && routes.ranges[i].first <= range.last) return false;
      routes.ranges[routes.count++] = range;
      if (!is_last) text = after(text, comma + 1);
    }
  }
  result = routes;
  return true;
}

}  // namespace nebula::config
