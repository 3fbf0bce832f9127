#include "tool/profile_file.hpp"

#include <fmt/core.h>
#include <unistd.h>
#include <zlib.h>

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include "tool/command.hpp"

namespace nebula::tool {
namespace {

constexpr std::string_view kModule = "# module ";  // as src/profiling/collapsed.cpp writes it
constexpr std::string_view kCollapsed = ".collapsed";

// What gzip has packed, unpacked.
std::string contents_of(const std::string& path) {
  gzFile const file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw Failure(fmt::format("{} cannot be read", path));
  std::string text;
  char part[65536];
  int bytes = 0;
  while ((bytes = gzread(file, part, sizeof part)) > 0) text.append(part, static_cast<std::size_t>(bytes));
  int error = Z_OK;
  const std::string words = gzerror(file, &error);
  gzclose(file);
  if (error == Z_ERRNO || bytes < 0) throw Failure(fmt::format("{} cannot be read{}", path, error == Z_ERRNO ? "" : ": " + words));
  if (error != Z_OK) throw Failure(fmt::format("{} is not whole: {}", path, words));
  return text;
}

// "" or what is wrong: every number that leads somewhere has to.
std::string problem_of(const pprof::Profile& profile) {
  if (profile.string_table_size() == 0 || !profile.string_table(0).empty()) return "its table of strings does not begin with the empty one";
  const auto is_word = [&](std::int64_t index) { return index >= 0 && index < profile.string_table_size(); };
  std::set<std::uint64_t> mappings = {0};
  std::set<std::uint64_t> locations;
  std::set<std::uint64_t> functions;
  for (const pprof::Mapping& mapping : profile.mapping()) {
    mappings.insert(mapping.id());
    if (!is_word(mapping.filename()) || !is_word(mapping.build_id())) return "a mapping's name is not in its table of strings";
  }
  for (const pprof::Function& function : profile.function()) {
    functions.insert(function.id());
    if (!is_word(function.name()) || !is_word(function.system_name()) || !is_word(function.filename())) return "a function's name is not in its table of strings";
  }
  for (const pprof::Location& location : profile.location()) {
    locations.insert(location.id());
    if (mappings.count(location.mapping_id()) == 0) return "a location is in a mapping that it does not have";
    for (const pprof::Line& line : location.line())
      if (functions.count(line.function_id()) == 0) return "a location is in a function that it does not have";
  }
  for (const pprof::Sample& sample : profile.sample()) {
    if (sample.value_size() != profile.sample_type_size()) return "a sample has not as many values as there are types";
    for (const std::uint64_t id : sample.location_id())
      if (locations.count(id) == 0) return "a sample has a location that it does not have";
  }
  for (const pprof::ValueType& type : profile.sample_type())
    if (!is_word(type.type()) || !is_word(type.unit())) return "a type's name is not in its table of strings";
  return {};
}

std::optional<CollapsedStacks> parse_collapsed(const std::string& text) {
  CollapsedStacks found;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    std::string_view line(text.data() + start, end - start);
    start = end + 1;
    if (line.substr(0, kModule.size()) == kModule) {
      line.remove_prefix(kModule.size());
      const std::size_t name = line.find(' ');
      const std::size_t id = name == std::string_view::npos ? name : line.find(' ', name + 1);
      if (id == std::string_view::npos) return {};
      const std::string_view build_id = line.substr(name + 1, id - name - 1);
      found.modules.emplace(line.substr(0, name), ModuleName{std::string(line.substr(id + 1)), build_id == "-" ? "" : std::string(build_id)});
      continue;
    }
    if (line.empty() || line.front() == '#') continue;
    const std::size_t space = line.rfind(' ');
    if (space == std::string_view::npos || space == 0) return {};
    CollapsedStacks::Stack stack;
    const char* const behind = line.data() + line.size();
    const auto [stop, error] = std::from_chars(line.data() + space + 1, behind, stack.value);
    if (error != std::errc() || stop != behind) return {};
    for (std::size_t at = 0; at < space;) {
      const std::size_t next = std::min(line.find(';', at), space);
      stack.frames.emplace_back(line.substr(at, next - at));
      at = next + 1;
    }
    found.stacks.push_back(std::move(stack));
  }
  return found;
}

// A file beside the one that is wanted, renamed at the end; a device or a link is written to as it is.
template <class Writer>
void write_whole(const std::string& path, Writer writer) {
  std::error_code none;
  if (const auto there = std::filesystem::symlink_status(path, none); std::filesystem::exists(there) && !std::filesystem::is_regular_file(there)) {
    if (std::filesystem::is_directory(there) || !writer(path)) throw Failure(fmt::format("{} cannot be written", path));
    return;
  }
  const std::string beside = fmt::format("{}.{}.part", path, getpid());
  const bool is_written = writer(beside);
  if (is_written && std::rename(beside.c_str(), path.c_str()) == 0) return;
  std::remove(beside.c_str());
  throw Failure(fmt::format("{} cannot be written", path));
}

}  // namespace

std::optional<ProfileFile> find_profile(const std::string& path) {
  const std::string text = contents_of(path);
  const std::string_view name = path;
  const bool is_named_collapsed = name.size() >= kCollapsed.size() && name.substr(name.size() - kCollapsed.size()) == kCollapsed;
  if (text.empty() && !is_named_collapsed) return {};
  if (!text.empty() && !is_named_collapsed && (text.front() == '{' || text.front() == '[')) return {};
  pprof::Profile profile;
  // Every profile has a table of strings, which few other files have by chance.
  if (!is_named_collapsed && profile.ParseFromString(text) && profile.string_table_size() != 0) {
    if (const std::string problem = problem_of(profile); !problem.empty()) throw Failure(fmt::format("{} is no profile: {}", path, problem));
    return profile;
  }
  std::optional<CollapsedStacks> stacks = parse_collapsed(text);
  if (!stacks || (stacks->stacks.empty() && stacks->modules.empty() && !is_named_collapsed)) return {};
  return std::move(*stacks);
}

ProfileFile read_profile(const std::string& path) {
  std::optional<ProfileFile> found = find_profile(path);
  if (!found) throw Failure(fmt::format("{} is no profile; accepted: what NEBULA_PROFILE writes, pprof's format (.pb.gz) or collapsed stacks (.collapsed)", path));
  return std::move(*found);
}

void write_pprof(const pprof::Profile& profile, const std::string& path) {
  const std::string text = profile.SerializeAsString();
  const auto pack = [&text](gzFile file) {
    if (file == nullptr) return false;
    const bool is_written = gzfwrite(text.data(), 1, text.size(), file) == text.size();
    return gzclose(file) == Z_OK && is_written;
  };
  if (!path.empty()) {
    write_whole(path, [&pack](const std::string& beside) { return pack(gzopen(beside.c_str(), "wb")); });
  } else if (std::fflush(stdout) != 0 || !pack(gzdopen(dup(STDOUT_FILENO), "wb"))) {
    throw Failure("standard output cannot be written to");
  }
}

void write_text(const std::string& text, const std::string& path) {
  if (path.empty()) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) throw Failure("standard output cannot be written to");
    return;
  }
  write_whole(path, [&text](const std::string& beside) {
    std::ofstream file(beside, std::ios::binary | std::ios::trunc);
    file << text;
    file.close();
    return static_cast<bool>(file);
  });
}

const std::string& word_of(const pprof::Profile& profile, std::int64_t index) { return profile.string_table(static_cast<int>(index)); }

}  // namespace nebula::tool
