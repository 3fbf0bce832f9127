#include "tool/sites.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>

#include "tool/command.hpp"
#include "tool/symbolize.hpp"

namespace nebula::tool {
namespace {

// Adds up what has the same frames.
class Sums {
 public:
  void add(std::vector<std::string> frames, const std::vector<std::int64_t>& values) {
    std::vector<std::int64_t>& sums = by_frames_[std::move(frames)];
    sums.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
  }
  std::vector<Site> take() {
    std::vector<Site> sites;
    for (auto& [frames, values] : by_frames_) sites.push_back({frames, values});
    return sites;
  }

 private:
  std::map<std::vector<std::string>, std::vector<std::int64_t>> by_frames_;
};

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The frames of every location, the innermost first.
class Frames {
 public:
  Frames(const pprof::Profile& profile, Places places) : profile_(profile), places_(places) {
    for (const pprof::Function& function : profile.function()) functions_.emplace(function.id(), &function);
    for (const pprof::Mapping& mapping : profile.mapping()) mappings_.emplace(mapping.id(), &mapping);
    for (const pprof::Location& location : profile.location()) frames_.emplace(location.id(), of(location));
  }
  [[nodiscard]] const std::vector<std::string>& at(std::uint64_t location) const { return frames_.at(location); }

 private:
  [[nodiscard]] std::vector<std::string> of(const pprof::Location& location) const {
    std::vector<std::string> frames;
    for (const pprof::Line& line : location.line()) {
      const pprof::Function& function = *functions_.at(line.function_id());
      std::string words = word_of(profile_, function.name());
      const std::string& file = word_of(profile_, function.filename());
      if (places_ == Places::kShown && !file.empty() && line.line() != 0) words += fmt::format(" ({}:{})", file_name(file), line.line());
      std::replace(words.begin(), words.end(), '\n', ' ');
      if (places_ == Places::kLeftOut) std::replace(words.begin(), words.end(), ';', ',');
      frames.push_back(std::move(words));
    }
    if (!frames.empty()) return frames;
    const auto mapping = mappings_.find(location.mapping_id());
    if (mapping == mappings_.end()) return {fmt::format("0x{:x}", location.address())};
    return {unnamed_frame(word_of(profile_, mapping->second->filename()), address_in_file(*mapping->second, location.address()))};
  }

  // The place in the file, which for code is its address in all that GNU's linker makes.
  static std::uint64_t address_in_file(const pprof::Mapping& mapping, std::uint64_t address) {
    return address - mapping.memory_start() + mapping.file_offset();
  }

  const pprof::Profile& profile_;
  Places places_;
  std::unordered_map<std::uint64_t, const pprof::Function*> functions_;
  std::unordered_map<std::uint64_t, const pprof::Mapping*> mappings_;
  std::unordered_map<std::uint64_t, std::vector<std::string>> frames_;
};

}  // namespace

std::size_t Sites::kind(const std::string& name) const {
  const auto found = std::find(kinds.begin(), kinds.end(), name);
  if (found != kinds.end()) return static_cast<std::size_t>(found - kinds.begin());
  std::string all;
  for (const std::string& kind : kinds) all += (all.empty() ? "" : ", ") + kind;
  throw Failure(fmt::format("the profile has no {}; it has {}", name, all));
}

Sites sites_of(const pprof::Profile& profile, Places places) {
  Sites sites;
  for (const pprof::ValueType& type : profile.sample_type()) sites.kinds.push_back(word_of(profile, type.type()));
  const Frames frames(profile, places);
  Sums sums;
  for (const pprof::Sample& sample : profile.sample()) {
    std::vector<std::string> stack;
    for (const std::uint64_t location : sample.location_id()) stack.insert(stack.end(), frames.at(location).begin(), frames.at(location).end());
    sums.add(std::move(stack), {sample.value().begin(), sample.value().end()});
  }
  sites.sites = sums.take();
  return sites;
}

Sites sites_of(const CollapsedStacks& stacks) {
  Sites sites;
  sites.kinds = {"bytes"};
  Sums sums;
  for (const CollapsedStacks::Stack& stack : stacks.stacks)
    sums.add({stack.frames.rbegin(), stack.frames.rend()}, {static_cast<std::int64_t>(stack.value)});
  sites.sites = sums.take();
  return sites;
}

std::string collapsed_text(const Sites& sites, std::size_t kind) {
  std::string text;
  for (const Site& site : sites.sites) {
    if (site.values[kind] <= 0) continue;
    if (site.frames.empty()) text += "unknown";
    for (std::size_t i = site.frames.size(); i-- > 0;) text += site.frames[i] + (i == 0 ? "" : ";");
    text += fmt::format(" {}\n", site.values[kind]);
  }
  return text;
}

}  // namespace nebula::tool
