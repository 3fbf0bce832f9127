// An ordinary C++ program, heavy on templates, for the compilers to chew on; its own output is compared as well.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

namespace {

using Value = std::variant<long, std::string, std::vector<double>>;

std::string describe(const Value& value)
{
  return std::visit(
    [](const auto& held) -> std::string {
      using Held = std::decay_t<decltype(held)>;
      if constexpr (std::is_same_v<Held, long>) {
        return "number " + std::to_string(held);
      } else if constexpr (std::is_same_v<Held, std::string>) {
        return "text " + held;
      } else {
        return "sum " + std::to_string(std::accumulate(held.begin(), held.end(), 0.0));
      }
    },
    value);
}

std::map<std::string, std::size_t> count_words(const std::string& text)
{
  static const std::regex word{R"(([a-z]+)(\d*))"};
  std::map<std::string, std::size_t> counts;
  for (std::sregex_iterator at{text.begin(), text.end(), word}, end; at != end; ++at) {
    ++counts[(*at)[1].str()];
  }
  return counts;
}

}

int main()
{
  std::mt19937 chance{7};
  std::unordered_map<unsigned, std::unique_ptr<Value>> table;
  for (int step = 0; step < 100000; ++step) {
    auto& place = table[chance() % 10000];
    switch (chance() % 3) {
    case 0: place = std::make_unique<Value>(static_cast<long>(chance() % 1000)); break;
    case 1: place = std::make_unique<Value>(std::string(chance() % 100, 'x')); break;
    default: place = std::make_unique<Value>(std::vector<double>(chance() % 50, 0.5));
    }
  }
  std::map<unsigned, std::reference_wrapper<const Value>> ordered;
  for (const auto& [key, value] : table) {
    ordered.emplace(key, *value);
  }
  std::size_t length = 0;
  for (const auto& [key, value] : ordered) {
    length += describe(value).size();
  }
  std::cout << ordered.size() << ' ' << length << '\n';

  std::ostringstream text;
  for (int step = 0; step < 20000; ++step) {
    text << std::string(1 + chance() % 5, static_cast<char>('a' + chance() % 4)) << chance() % 100 << ' ';
  }
  const auto counts = count_words(text.str());
  for (const auto& [name, count] : counts) {
    if (count > 900) {
      std::cout << name << ' ' << count << '\n';
    }
  }

  std::vector<std::size_t> sums(4);
  std::vector<std::thread> threads;
  for (std::size_t place = 0; place < sums.size(); ++place) {
    threads.emplace_back([&sums, place] {
      std::mt19937 own{static_cast<unsigned>(place)};
      std::vector<std::string> kept;
      for (int step = 0; step < 50000; ++step) {
        kept.emplace_back(own() % 300, 'y');
        if (kept.size() > 100) {
          std::swap(kept[own() % 100], kept.back());
          kept.pop_back();
        }
      }
      for (const auto& piece : kept) {
        sums[place] += piece.size();
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  for (const auto sum : sums) {
    std::cout << sum << '\n';
  }
}
