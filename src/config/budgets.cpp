#include "config/budgets.hpp"

#include <signal.h>

#include "config/config.hpp"

namespace nebula::config {
namespace {

constexpr std::string_view kAccountNames[kAccountKinds] = {"process", "tree", "node", "thread", "size", "module"};

// The part up to the first `separator`, and in `rest` what follows it. False when there is none.
bool split(std::string_view text, char separator, std::string_view& first, std::string_view& rest) {
  const std::size_t at = text.find(separator);
  if (at == std::string_view::npos) return false;
  first = start_of(text, at);
  rest = after(text, at + 1);
  return true;
}

// The next element of a list; false at its end. An empty one is an element, so that it can be refused.
bool take(std::string_view& list, std::string_view& element, bool& is_over) {
  if (is_over) return false;
  if (!split(list, ',', element, list)) {
    element = list;
    is_over = true;
  }
  return true;
}

bool parse_whole(std::string_view digits, std::uint32_t most, std::uint32_t& result) {
  if (digits.empty() || digits.size() > 9) return false;
  std::uint32_t value = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return false;
    value = value * 10 + static_cast<std::uint32_t>(digit - '0');
  }
  if (value > most) return false;
  result = value;
  return true;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && after(text, text.size() - end.size()) == end;
}

bool parse_action(std::string_view text, AtLimit& result) {
  constexpr std::string_view kWait = "wait:";
  if (text == "fail") result = {BudgetAction::kFail, 0};
  else if (text == "abort") result = {BudgetAction::kAbort, 0};
  else if (text == "kill") result = {BudgetAction::kKill, 0};
  else if (text == "warn") result = {BudgetAction::kWarn, 0};
  else if (start_of(text, kWait.size()) == kWait) {
    std::uint32_t wait = 0;
    if (!parse_milliseconds(after(text, kWait.size()), wait)) return false;
    result = {BudgetAction::kWait, wait};
  } else return false;
  return true;
}

bool parse_range(std::string_view text, SizeLimit& result) {
  std::string_view first;
  std::string_view last;
  if (!split(text, '-', first, last)) first = last = text;
  SizeLimit range = {0, ~std::uint64_t{0}, 0};
  if (first.empty() && last.empty()) return false;
  if (!first.empty() && !parse_size(first, range.first)) return false;
  if (!last.empty() && !parse_size(last, range.last)) return false;
  if (range.first > range.last) return false;
  result = range;
  return true;
}

// A list of WHOSE:SIZE. `parse_whose` reads the first part, and `clash` says that two of the list cannot be together.
template <class Limit, std::size_t kMost, class ParseWhose, class Clash>
bool parse_limits(std::string_view text, Limit* result, std::size_t& count, ParseWhose parse_whose, Clash clash) {
  Limit limits[kMost];
  std::size_t found = 0;
  bool is_over = false;
  for (std::string_view element; take(text, element, is_over);) {
    std::string_view whose;
    std::string_view bytes;
    Limit limit;
    if (found == kMost || !split(element, ':', whose, bytes) || !parse_whose(whose, limit)) return false;
    if (!parse_size(bytes, limit.bytes) || limit.bytes == 0) return false;
    for (std::size_t i = 0; i < found; ++i)
      if (clash(limit, limits[i])) return false;
    limits[found++] = limit;
  }
  for (std::size_t i = 0; i < found; ++i) result[i] = limits[i];
  count = found;
  return true;
}

enum class Default : std::uint8_t { kMayBe, kNone };

bool parse_named_limits(std::string_view text, Default others, NamedLimit* result, std::size_t& count) {
  NamedLimit limits[kNamedLimitsMost];
  NamedLimit of_others;
  std::size_t found = 0;
  bool is_over = false;
  for (std::string_view element; take(text, element, is_over);) {
    NamedLimit limit;
    std::string_view bytes = element;
    const bool has_name = split(element, ':', limit.name, bytes);
    if (!parse_size(bytes, limit.bytes) || limit.bytes == 0) return false;
    if (!has_name) {
      if (others == Default::kNone || of_others.bytes != 0) return false;
      of_others = {"*", limit.bytes};
      continue;
    }
    if (limit.name.empty() || limit.name.find('/') != std::string_view::npos || found == kNamedLimitsMost) return false;
    for (std::size_t i = 0; i < found; ++i)
      if (limits[i].name == limit.name) return false;
    limits[found++] = limit;
  }
  if (of_others.bytes != 0) {
    if (found == kNamedLimitsMost) return false;
    limits[found++] = of_others;
  }
  for (std::size_t i = 0; i < found; ++i) result[i] = limits[i];
  count = found;
  return true;
}

}  // namespace

const char* name_of(AccountKind kind) { return kAccountNames[static_cast<std::size_t>(kind)].data(); }

bool parse_percent(std::string_view text, std::uint32_t& result) {
  std::uint32_t value = 0;
  if (!ends_with(text, "%") || !parse_whole(start_of(text, text.size() - 1), 100, value) || value == 0) return false;
  result = value;
  return true;
}

bool parse_milliseconds(std::string_view text, std::uint32_t& result) {
  constexpr std::uint32_t kHour = 3'600'000;
  std::uint32_t value = 0;
  if (ends_with(text, "ms")) {
    if (!parse_whole(start_of(text, text.size() - 2), kHour, value)) return false;
  } else if (ends_with(text, "s")) {
    if (!parse_whole(start_of(text, text.size() - 1), kHour / 1000, value)) return false;
    value *= 1000;
  } else return false;
  if (value == 0) return false;
  result = value;
  return true;
}

bool parse_limit(std::string_view text, Limit& result) {
  constexpr std::uint32_t kAutomatic = 90;
  Limit limit;
  if (text == "auto") {
    limit = {kAutomatic, 0};
  } else if (text.find('%') != std::string_view::npos) {
    std::string_view share = text;
    std::string_view less;
    limit.bytes = 0;
    if (split(text, '-', share, less) && (!parse_size(less, limit.bytes) || limit.bytes == 0)) return false;
    if (!parse_percent(share, limit.percent)) return false;
  } else if (!parse_size(text, limit.bytes) || limit.bytes == 0) {
    return false;
  }
  result = limit;
  return true;
}

bool parse_actions(std::string_view text, AtLimit* result) {
  AtLimit actions[kAccountKinds];
  bool is_named[kAccountKinds] = {};
  bool has_general = false;
  bool is_over = false;
  for (std::string_view element; take(text, element, is_over);) {
    std::string_view name;
    std::string_view action;
    AtLimit at_limit;
    if (!split(element, '=', name, action)) {
      if (has_general || !parse_action(element, at_limit)) return false;
      has_general = true;
      for (std::size_t i = 0; i < kAccountKinds; ++i)
        if (!is_named[i]) actions[i] = at_limit;
      continue;
    }
    if (!parse_action(action, at_limit)) return false;
    std::size_t kind = 0;
    while (kind < kAccountKinds && kAccountNames[kind] != name) ++kind;
    if (kind == kAccountKinds || is_named[kind]) return false;
    is_named[kind] = true;
    actions[kind] = at_limit;
  }
  for (std::size_t i = 0; i < kAccountKinds; ++i) result[i] = actions[i];
  return true;
}

bool parse_size_limits(std::string_view text, SizeLimit* result, std::size_t& count) {
  return parse_limits<SizeLimit, kSizeLimitsMost>(
      text, result, count, parse_range,
      [](const SizeLimit& a, const SizeLimit& b) { return a.first <= b.last && b.first <= a.last; });
}

bool parse_node_limits(std::string_view text, NodeLimit* result, std::size_t& count) {
  constexpr std::uint32_t kLastNode = 1023;
  return parse_limits<NodeLimit, kNodeLimitsMost>(
      text, result, count, [](std::string_view whose, NodeLimit& limit) { return parse_whole(whose, kLastNode, limit.node); },
      [](const NodeLimit& a, const NodeLimit& b) { return a.node == b.node; });
}

bool parse_thread_limits(std::string_view text, NamedLimit* result, std::size_t& count) {
  return parse_named_limits(text, Default::kMayBe, result, count);
}

bool parse_module_limits(std::string_view text, NamedLimit* result, std::size_t& count) {
  return parse_named_limits(text, Default::kNone, result, count);
}

bool parse_signal(std::string_view text, int& result) {
  constexpr struct {
    std::string_view name;
    int number;
  } kNames[] = {{"HUP", SIGHUP},   {"USR1", SIGUSR1},   {"USR2", SIGUSR2}, {"ALRM", SIGALRM}, {"TERM", SIGTERM},
                {"CONT", SIGCONT}, {"WINCH", SIGWINCH}, {"URG", SIGURG},   {"IO", SIGIO},     {"PWR", SIGPWR}};
  constexpr int kFirstReal = 34;  // SIGRTMIN is a call into libc; 32 and 33 are its own
  constexpr std::string_view kPrefix = "SIG";
  constexpr std::string_view kReal = "RTMIN";
  if (start_of(text, kPrefix.size()) == kPrefix) text = after(text, kPrefix.size());
  for (const auto& each : kNames) {
    if (text != each.name) continue;
    result = each.number;
    return true;
  }
  if (start_of(text, kReal.size()) != kReal) return false;
  text = after(text, kReal.size());
  std::uint32_t more = 0;
  if (!text.empty() && (text[0] != '+' || !parse_whole(after(text, 1), 30, more))) return false;
  result = kFirstReal + static_cast<int>(more);
  return true;
}

}  // namespace nebula::config
