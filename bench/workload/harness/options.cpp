#include "options.hpp"

#include <charconv>
#include <cinttypes>
#include <cstdlib>
#include <limits>

#include "failure.hpp"

namespace workload {
namespace {

constexpr double kLeastScale = 1e-4;
constexpr double kMostScale = 1e4;

std::uint64_t whole_number(const char* program, std::string_view name, std::string_view text, std::uint64_t least,
                           std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most) {
    refuse("%s: --%s takes a whole number from %" PRIu64 " to %" PRIu64 ", not \"%s\"", program, name.data(), least,
           most, text.data());
  }
  return value;
}

std::uint64_t value_of(const char* program, const Setting& setting, const char* text) {
  const std::uint64_t value = whole_number(program, setting.name, text, setting.least, setting.most);
  if (value % setting.step != 0)
    refuse("%s: --%s takes a multiple of %" PRIu64 ", not \"%s\"", program, setting.name, setting.step, text);
  return value;
}

double decimal(const char* program, const char* text) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= kLeastScale && value <= kMostScale))
    refuse("%s: --scale takes a number from %g to %g, not \"%s\"", program, kLeastScale, kMostScale, text);
  return value;
}

}  // namespace

Options::Options(const Program& program, std::span<char* const> words)
    : program_(program.name), threads_(program.threads), setting_count_(program.settings.size()) {
  if (setting_count_ > kMostSettings) fail("%s: more settings than there is room for", program_);
  for (std::size_t i = 0; i < setting_count_; ++i) settings_[i] = program.settings[i];

  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    if (word == "--list") {
      list_ = true;
      continue;
    }
    if (word == "--latency") {
      latency_ = true;
      continue;
    }
    const std::string_view name = word.starts_with("--") ? word.substr(2) : std::string_view{};
    Setting* const setting = find(name);
    if (!setting && name != "scale" && name != "seed") refuse("%s: unknown option \"%s\"", program_, words[i]);
    if (i + 1 == words.size()) refuse("%s: %s needs a value", program_, words[i]);
    const char* const value = words[++i];
    if (name == "scale")
      scale_ *= decimal(program_, value);
    else if (name == "seed")
      seed_ = whole_number(program_, name, value, 0, std::numeric_limits<std::uint64_t>::max());
    else
      setting->value = value_of(program_, *setting, value);
  }
}

Setting* Options::find(std::string_view name) {
  if (name == threads_.name) return &threads_;
  for (std::size_t i = 0; i < setting_count_; ++i)
    if (name == settings_[i].name) return &settings_[i];
  return nullptr;
}

std::uint64_t Options::setting(std::string_view name) const {
  for (std::size_t i = 0; i < setting_count_; ++i)
    if (name == settings_[i].name) return settings_[i].value;
  fail("%s: no setting \"%s\"", program_, name.data());
}

std::size_t Options::scaled(std::size_t count) const {
  const auto scaled = static_cast<std::size_t>(static_cast<double>(count) * scale_);
  return scaled == 0 ? 1 : scaled;
}

}  // namespace workload
