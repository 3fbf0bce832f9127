// For both compilers to chew on (no ranges: clang 14 cannot read those of libstdc++ 12): containers, variants, functions, and templates of our own that nest deeply.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

template <std::size_t I>
struct Tag {
  std::size_t value = I;
  friend auto operator<=>(const Tag&, const Tag&) = default;
};

template <std::size_t... I>
constexpr auto tags(std::index_sequence<I...>) {
  return std::tuple{Tag<I>{}...};
}

template <std::size_t I>
std::string describe() {
  std::map<Tag<I>, std::vector<std::pair<std::string, Tag<I>>>> table;
  table[Tag<I>{I * 7 % 5}].emplace_back(std::to_string(I), Tag<I>{});
  std::ostringstream text;
  for (const auto& [key, list] : table) {
    for (auto pair = list.rbegin(); pair != list.rend(); ++pair) text << key.value << pair->first;
  }
  return text.str();
}

template <class... Types>
std::size_t visit_all(const std::vector<std::variant<Types...>>& values) {
  return std::accumulate(values.begin(), values.end(), std::size_t{0}, [](std::size_t sum, const auto& value) {
    return sum + std::visit([](const auto& held) { return sizeof held; }, value);
  });
}

template <std::size_t... I>
std::size_t everything(std::index_sequence<I...>) {
  std::vector<std::variant<Tag<I>...>> values{Tag<I>{}...};
  std::size_t sum = visit_all(values) + (describe<I>().size() + ...);
  sum += std::apply([](const auto&... tag) { return (tag.value + ...); }, tags(std::index_sequence<I...>{}));
  std::unordered_map<std::string, std::function<std::optional<std::size_t>(std::size_t)>> calls;
  (calls.emplace(std::to_string(I), [](std::size_t x) { return x > I ? std::optional{x - I} : std::nullopt; }), ...);
  for (const auto& [name, call] : calls) sum += call(name.size()).value_or(1);
  return sum;
}

std::size_t answer() {
  auto shared = std::make_shared<std::set<std::string>>();
  shared->insert("a word");
  return everything(std::make_index_sequence<4>{}) + shared->size();
}
