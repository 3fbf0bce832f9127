#include "tool/symbolize.hpp"

#include <fmt/core.h>

#include <charconv>
#include <memory>
#include <tuple>
#include <unordered_map>

#include "tool/symbols.hpp"

namespace nebula::tool {
namespace {

// The files of a profile, each opened once: a library that was loaded twice is one.
class SymbolFiles {
 public:
  explicit SymbolFiles(const DebugFiles& files) : files_(files) {}

  const SymbolFile& of(const ModuleName& module) {
    std::unique_ptr<SymbolFile>& file = opened_[{module.path, module.build_id}];
    if (!file) {
      file = std::make_unique<SymbolFile>(module, files_);
      if (!file->remark().empty()) remarks_.push_back(file->remark());
    }
    return *file;
  }

  void remark(std::string words) { remarks_.push_back(std::move(words)); }
  std::vector<std::string> take_remarks() { return std::move(remarks_); }

 private:
  const DebugFiles& files_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<SymbolFile>> opened_;
  std::vector<std::string> remarks_;
};

// Adds words and functions to a profile, each once.
class Tables {
 public:
  explicit Tables(pprof::Profile& profile) : profile_(profile) {
    for (int i = 0; i < profile.string_table_size(); ++i) words_.emplace(profile.string_table(i), i);
    for (const pprof::Function& function : profile.function()) last_ = std::max(last_, function.id());
  }

  std::uint64_t function(const Frame& frame) {
    std::uint64_t& id = functions_[{frame.name, frame.linkage_name, frame.file, frame.start_line}];
    if (id != 0) return id;
    id = ++last_;
    pprof::Function& function = *profile_.add_function();
    function.set_id(id);
    function.set_name(word(frame.name));
    function.set_system_name(word(frame.linkage_name));
    function.set_filename(word(frame.file));
    function.set_start_line(frame.start_line);
    return id;
  }

 private:
  std::int64_t word(const std::string& text) {
    const auto [place, is_new] = words_.emplace(text, profile_.string_table_size());
    if (is_new) profile_.add_string_table(text);
    return place->second;
  }

  pprof::Profile& profile_;
  std::unordered_map<std::string, std::int64_t> words_;
  std::map<std::tuple<std::string, std::string, std::string, int>, std::uint64_t> functions_;
  std::uint64_t last_ = 0;
};

// Of "libfoo.so+0x1234" the name and the address; nothing where the frame is not so.
struct Place {
  std::string name;
  std::uint64_t address = 0;
};
std::optional<Place> place_of(const std::string& frame) {
  const std::size_t plus = frame.rfind("+0x");
  if (plus == std::string::npos || plus == 0) return {};
  Place place{frame.substr(0, plus)};
  const char* const behind = frame.data() + frame.size();
  const auto [stop, error] = std::from_chars(frame.data() + plus + 3, behind, place.address, 16);
  if (error != std::errc() || stop != behind) return {};
  return place;
}

// What stacks are taken apart by does not stand in a frame.
std::string as_frame(std::string name) {
  for (char& letter : name)
    if (letter == ';' || letter == '\n') letter = ',';
  return name;
}

// The one file that frames of this name are of; null where there is none, or several, of which no address can be told.
const SymbolFile* file_of(const std::string& name, const CollapsedStacks& stacks, SymbolFiles& opened) {
  const auto [begin, end] = stacks.modules.equal_range(name);
  if (begin == end) {
    opened.remark(fmt::format("{}: the profile does not say which file that is", name));
    return nullptr;
  }
  for (auto other = begin; other != end; ++other)
    if (other->second.build_id != begin->second.build_id || (begin->second.build_id.empty() && other->second.path != begin->second.path)) {
      opened.remark(fmt::format("{} and {} have the same name in the profile: which one a frame is of cannot be told; pprof's form can", begin->second.path, other->second.path));
      return nullptr;
    }
  return &opened.of(begin->second);
}

}  // namespace

std::string unnamed_frame(const std::string& path, std::uint64_t address) {
  std::string file = as_frame(path.substr(path.rfind('/') + 1));
  for (char& letter : file)
    if (letter == ' ') letter = '_';
  return fmt::format("{}+0x{:x}", file, address);
}

std::vector<std::string> give_names(pprof::Profile& profile, const DebugFiles& files) {
  SymbolFiles opened(files);
  Tables tables(profile);
  std::unordered_map<std::uint64_t, pprof::Mapping*> mappings;
  for (pprof::Mapping& mapping : *profile.mutable_mapping()) mappings.emplace(mapping.id(), &mapping);
  for (pprof::Location& location : *profile.mutable_location()) {
    const auto mapped = mappings.find(location.mapping_id());
    if (location.line_size() != 0 || mapped == mappings.end()) continue;
    pprof::Mapping& mapping = *mapped->second;
    const SymbolFile& file = opened.of({word_of(profile, mapping.filename()), word_of(profile, mapping.build_id())});
    const std::uint64_t bias = file.bias_of({mapping.memory_start(), mapping.memory_limit(), mapping.file_offset()});
    const std::vector<Frame> frames = file.frames(location.address() - bias);
    for (const Frame& frame : frames) {
      pprof::Line& line = *location.add_line();
      line.set_function_id(tables.function(frame));
      line.set_line(frame.line);
      mapping.set_has_functions(true);
      if (!frame.file.empty()) mapping.set_has_filenames(true);
      if (frame.line != 0) mapping.set_has_line_numbers(true);
    }
    if (frames.size() > 1) mapping.set_has_inline_frames(true);
  }
  return opened.take_remarks();
}

std::vector<std::string> give_names(CollapsedStacks& stacks, const DebugFiles& files) {
  SymbolFiles opened(files);
  std::map<std::string, const SymbolFile*> by_name;
  std::unordered_map<std::string, std::vector<std::string>> named;  // a frame's frames, the outermost first
  for (CollapsedStacks::Stack& stack : stacks.stacks) {
    std::vector<std::string> frames;
    for (const std::string& frame : stack.frames) {
      const auto [known, is_new] = named.try_emplace(frame);
      if (const std::optional<Place> place = is_new ? place_of(frame) : std::nullopt; place) {
        const auto [file, is_new_file] = by_name.try_emplace(place->name, nullptr);
        if (is_new_file) file->second = file_of(place->name, stacks, opened);
        if (file->second != nullptr)
          for (const Frame& inner : file->second->frames(place->address)) known->second.insert(known->second.begin(), as_frame(inner.name));
      }
      if (known->second.empty()) known->second.push_back(frame);
      frames.insert(frames.end(), known->second.begin(), known->second.end());
    }
    stack.frames = std::move(frames);
  }
  return opened.take_remarks();
}

}  // namespace nebula::tool
