#include "tool/debug_files.hpp"

#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <gelf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "tool/command.hpp"

namespace nebula::tool {
namespace {

namespace fs = std::filesystem;

struct Facts {
  std::string build_id;
  bool has_debug_information = false;
};

bool has_section(Elf* elf, const char* name) {
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf, &names) != 0) return false;
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type == SHT_NOBITS) continue;
    const char* const found = elf_strptr(elf, names, header.sh_name);
    if (found != nullptr && std::strcmp(found, name) == 0) return true;
  }
  return false;
}

// Nothing for what is no ELF file, or none that may be read.
std::optional<Facts> facts_of(const fs::path& path) {
  std::error_code none;
  if (!fs::is_regular_file(path, none)) return {};
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return {};
  elf_version(EV_CURRENT);
  Elf* const elf = elf_begin(descriptor, ELF_C_READ_MMAP, nullptr);
  std::optional<Facts> facts;
  if (elf != nullptr && elf_kind(elf) == ELF_K_ELF) {
    facts.emplace();
    const void* id = nullptr;
    const ssize_t bytes = dwelf_elf_gnu_build_id(elf, &id);
    for (ssize_t i = 0; i < bytes; ++i) facts->build_id += fmt::format("{:02x}", static_cast<const unsigned char*>(id)[i]);
    facts->has_debug_information = has_section(elf, ".debug_info") || has_section(elf, ".zdebug_info");
  }
  elf_end(elf);
  close(descriptor);
  return facts;
}

// Below a folder in which files are by their build id: 12/345678 and an ending.
fs::path place_of_id(const fs::path& folder, const std::string& id, const char* ending) {
  return id.size() < 3 ? fs::path() : folder / ".build-id" / id.substr(0, 2) / (id.substr(2) + ending);
}

}  // namespace

DebugFiles::DebugFiles(const std::vector<std::string>& folders) {
  for (const std::string& folder : folders) {
    std::error_code none;
    if (!fs::is_directory(folder, none)) throw Failure(fmt::format("--debug-dir {}: there is no such folder", folder));
    folders_.push_back(fs::absolute(folder));
  }
}

DebugFiles::Found DebugFiles::find(const ModuleName& module) const {
  const fs::path path(module.path);
  std::vector<fs::path> places;
  const auto add_ids = [&](const fs::path& folder, const char* ending) {
    if (const fs::path place = place_of_id(folder, module.build_id, ending); !place.empty()) places.push_back(place);
  };
  for (const fs::path& folder : folders_) {
    add_ids(folder, "");
    if (path.has_root_path()) places.push_back(folder / path.relative_path());
    places.push_back(folder / path.filename());
  }
  if (path.is_absolute()) places.push_back(path);
  add_ids("/usr/lib/debug", "");
  for (const fs::path& folder : folders_) {
    for (const fs::path& below : {folder, folder / "usr/lib/debug"}) {
      add_ids(below, ".debug");
      if (path.has_root_path()) places.push_back(below / (path.relative_path().string() + ".debug"));
      places.push_back(below / (path.filename().string() + ".debug"));
    }
  }
  add_ids("/usr/lib/debug", ".debug");

  Found found;
  for (const fs::path& place : places) {
    const std::optional<Facts> facts = facts_of(place);
    if (!facts) continue;
    if (facts->build_id == module.build_id || module.build_id.empty()) {
      found.path = place;
      return found;
    }
    std::string words = fmt::format("{} has {}, and the profile's has {}", place.string(),
                                    facts->build_id.empty() ? "no build id" : "build id " + facts->build_id, module.build_id);
    if (std::find(found.refusals.begin(), found.refusals.end(), words) == found.refusals.end()) found.refusals.push_back(std::move(words));
  }
  return found;
}

fs::path DebugFiles::find_debug(const ModuleName& module) const {
  if (module.build_id.empty()) return {};
  const fs::path path(module.path);
  for (const fs::path& folder : folders_)
    for (const fs::path& below : {folder, folder / "usr/lib/debug"})
      for (const fs::path& place : {place_of_id(below, module.build_id, ".debug"), below / (path.relative_path().string() + ".debug"),
                                    below / (path.filename().string() + ".debug"), below / path.filename()}) {
        const std::optional<Facts> facts = place.empty() ? std::nullopt : facts_of(place);
        if (facts && facts->build_id == module.build_id && facts->has_debug_information) return place;
      }
  return {};
}

std::string DebugFiles::search_path() const {
  std::string text;
  for (const fs::path& folder : folders_) text += folder.string() + ':';
  return text + ".debug:/usr/lib/debug";
}

}  // namespace nebula::tool
