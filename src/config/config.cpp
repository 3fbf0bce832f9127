#include "config/config.hpp"

#include <cstring>

#include "diag/message.hpp"

namespace nebula::config {
namespace {

constexpr std::string_view kPrefix = "NEBULA_";
constexpr std::uint64_t kUsefulBudget = 512 * 1024;  // below it, not even libc's start-up fits

bool parse_switch(std::string_view value, bool& result) {
  if (value != "0" && value != "1") return false;
  result = value == "1";
  return true;
}

bool parse_budget(std::string_view value, std::uint64_t& result) {
  std::uint64_t size = 0;
  if (!parse_size(value, size) || size == 0) return false;
  result = size;
  return true;
}

constexpr const char* kSwitchForm = "0 or 1";
constexpr const char* kSizeForm = "a size above 0: 4194304, 64M, 1.5GiB";

using Kind = Option::Kind;

constexpr Option kOptions[] = {
    {"NEBULA_STATS", kSwitchForm, "0", "Write a report when the program exits.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_switch(v, c.stats); }},
    {"NEBULA_STATS_FILE", "a path of 1 to 1,000 bytes; %p pid, %e program, %n sequence number", "standard error",
     "Where the report goes.", Kind::kSetting,
     [](std::string_view v, Config& c) {
       if (v.empty() || v.size() > 1000) return false;
       c.stats_file = v;
       return true;
     }},
    {"NEBULA_BUDGET", kSizeForm, "none", "Hard limit on committed memory: at it, reclaim, then refuse.", Kind::kLimit,
     [](std::string_view v, Config& c) { return parse_budget(v, c.budget); }},
    {"NEBULA_BUDGET_SOFT", kSizeForm, "none", "Soft limit: above it, reclaim within a work cap; warn once.",
     Kind::kLimit, [](std::string_view v, Config& c) { return parse_budget(v, c.budget_soft); }},
    {"NEBULA_BUDGET_ACTION", "fail or abort", "fail",
     "At the hard limit: fail the request (ENOMEM, bad_alloc), or report and abort.", Kind::kSetting,
     [](std::string_view v, Config& c) {
       if (v != "fail" && v != "abort") return false;
       c.budget_action = v == "abort" ? BudgetAction::kAbort : BudgetAction::kFail;
       return true;
     }},
    {"NEBULA_ON_MISUSE", "abort or warn", "abort",
     "On a double or invalid free: say so and abort, or say so and ignore it.", Kind::kSetting,
     [](std::string_view v, Config& c) {
       if (v != "abort" && v != "warn") return false;
       c.on_misuse = v == "warn" ? MisuseAction::kWarn : MisuseAction::kAbort;
       return true;
     }},
    {"NEBULA_ABORT_CONF", kSwitchForm, "1", "Exit with status 78 before main when a limit cannot be understood.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_switch(v, c.abort_on_bad_limit); }},
    {"NEBULA_HELP", kSwitchForm, "0", "Print this list, then run the program.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_switch(v, c.help); }},
};
constexpr std::size_t kOptionCount = sizeof kOptions / sizeof kOptions[0];

// Copies of the values, so that they outlive the environment.
constinit char value_room[4096];
constinit std::size_t value_room_used = 0;
constinit std::string_view written[kOptionCount];

bool keep(std::string_view& value) {
  if (value.size() > sizeof value_room - value_room_used) return false;
  char* const place = value_room + value_room_used;
  std::memcpy(place, value.data(), value.size());
  value_room_used += value.size();
  value = {place, value.size()};
  return true;
}

// Damerau–Levenshtein distance in its restricted form (Damerau 1964): a swap of neighbours counts one.
unsigned distance(std::string_view a, std::string_view b) {
  constexpr std::size_t kLongest = 40;
  if (a.size() > kLongest || b.size() > kLongest) return kLongest;
  unsigned before[kLongest + 1] = {};
  unsigned last[kLongest + 1];
  unsigned now[kLongest + 1];
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<unsigned>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = static_cast<unsigned>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const unsigned change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      unsigned best = change;
      if (last[j] + 1 < best) best = last[j] + 1;
      if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped && before[j - 2] + 1 < best) best = before[j - 2] + 1;
      now[j] = best;
    }
    std::memcpy(before, last, sizeof before);
    std::memcpy(last, now, sizeof last);
  }
  return last[b.size()];
}

void say_unknown(std::string_view name) {
  constexpr unsigned kNear = 4;
  const Option* nearest = nullptr;
  unsigned nearest_distance = kNear;
  for (const Option& option : kOptions) {
    const unsigned d = distance(name, option.name);
    if (d < nearest_distance) {
      nearest = &option;
      nearest_distance = d;
    }
  }
  TextOf<512> line;
  line << start_of(name, 100) << " is not a variable of Nebula";
  if (nearest != nullptr) line << "; did you mean " << nearest->name << '?';
  line << " (NEBULA_HELP=1 lists them)";
  say(line.view());
}

void say_malformed(const Option& option, std::string_view value, const Config& config) {
  TextOf<512> line;
  line << option.name << '=' << start_of(value, 100) << " is not understood; accepted: " << option.form;
  if (option.kind == Kind::kSetting) line << "; using the default, " << option.default_value;
  else if (config.abort_on_bad_limit) line << "; not running without the limit (NEBULA_ABORT_CONF=0 would)";
  else line << "; running without the limit";
  say(line.view());
}

Outcome read_one(std::string_view name, std::string_view value, Config& config) {
  for (std::size_t i = 0; i < kOptionCount; ++i) {
    const Option& option = kOptions[i];
    if (name != option.name) continue;
    if (keep(value) && option.parse(value, config)) {
      written[i] = value;
      return Outcome::kGood;
    }
    say_malformed(option, value, config);
    return option.kind == Kind::kLimit ? Outcome::kBadLimit : Outcome::kGood;
  }
  say_unknown(name);
  return Outcome::kGood;
}

}  // namespace

std::span<const Option> options() { return kOptions; }

std::string_view written_value(std::size_t index) { return written[index]; }

Outcome read(const char* const* environment, Config& config) {
  Outcome outcome = Outcome::kGood;
  // First what decides about the others, wherever it stands.
  for (const char* const* entry = environment; entry != nullptr && *entry != nullptr; ++entry)
    if (std::strcmp(*entry, "NEBULA_ABORT_CONF=0") == 0) config.abort_on_bad_limit = false;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    if (std::strncmp(*environment, kPrefix.data(), kPrefix.size()) != 0) continue;
    const char* const equals = std::strchr(*environment, '=');
    if (equals == nullptr) continue;
    const std::string_view name(*environment, static_cast<std::size_t>(equals - *environment));
    if (read_one(name, equals + 1, config) == Outcome::kBadLimit) outcome = Outcome::kBadLimit;
  }
  if (config.budget < kUsefulBudget || config.budget_soft < kUsefulBudget)
    say("a budget below 512K leaves hardly a program room to start");
  if (config.budget != ~std::uint64_t{0} && config.budget_soft != ~std::uint64_t{0} &&
      config.budget_soft > config.budget)
    say("NEBULA_BUDGET_SOFT is above NEBULA_BUDGET and will never act");
  return outcome;
}

void print_help() {
  write_to_standard_error("Nebula's environment variables:\n");
  for (const Option& option : kOptions) {
    TextOf<512> text;  // one at a time: no frame here is above a page
    text << "  ";
    text.left(option.name, 22) << option.description << '\n';
    text.left("", 24) << "accepted: " << option.form << "   default: " << option.default_value << '\n';
    write_to_standard_error(text.view());
  }
}

bool parse_size(std::string_view text, std::uint64_t& result) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 63;
  constexpr unsigned kFractionDigits = 6;  // 10^6 × 2^40 fits 64 bits
  std::size_t at = 0;
  const auto is_digit = [&] { return at < text.size() && text[at] >= '0' && text[at] <= '9'; };

  std::uint64_t whole = 0;
  const std::size_t whole_start = at;
  for (; is_digit(); ++at) {
    const auto digit = static_cast<std::uint64_t>(text[at] - '0');
    if (whole > (kMost - digit) / 10) return false;
    whole = whole * 10 + digit;
  }
  if (at == whole_start) return false;

  std::uint64_t fraction = 0;
  std::uint64_t fraction_scale = 1;
  if (at < text.size() && text[at] == '.') {
    const std::size_t fraction_start = ++at;
    for (; is_digit(); ++at) {
      if (at - fraction_start >= kFractionDigits) return false;
      fraction = fraction * 10 + static_cast<std::uint64_t>(text[at] - '0');
      fraction_scale *= 10;
    }
    if (at == fraction_start) return false;
  }

  unsigned shift = 0;
  if (at < text.size()) {
    switch (text[at] | 0x20) {  // to lower case
      case 'k': shift = 10; break;
      case 'm': shift = 20; break;
      case 'g': shift = 30; break;
      case 't': shift = 40; break;
      default: return false;
    }
    ++at;
    if (at < text.size() && (text[at] | 0x20) == 'i') ++at;
    if (at < text.size() && (text[at] | 0x20) == 'b') ++at;
  }
  if (at != text.size()) return false;
  if (whole > kMost >> shift) return false;
  const std::uint64_t size = (whole << shift) + (fraction << shift) / fraction_scale;
  if (size > kMost) return false;
  result = size;
  return true;
}

void expand_path(std::string_view pattern, int process_id, std::string_view program, std::uint64_t sequence,
                 Text& result) {
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      result << pattern[i];
      continue;
    }
    switch (pattern[++i]) {
      case 'p': result.plain(static_cast<std::uint64_t>(process_id)); break;
      case 'e': result << program; break;
      case 'n': result.plain(sequence); break;
      case '%': result << '%'; break;
      default: result << '%' << pattern[i]; break;
    }
  }
  result << '\0';
}

}  // namespace nebula::config
