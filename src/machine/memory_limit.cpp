#include "machine/memory_limit.hpp"

#include <cstring>
#include <string_view>

#include "base/units.hpp"
#include "diag/text.hpp"
#include "os/lines.hpp"
#include "os/process.hpp"

namespace nebula::machine {
namespace {

constexpr std::size_t kPathMost = 512;
using Path = TextOf<kPathMost>;

bool has_part(std::string_view list, std::string_view part) {
  while (!list.empty())
    if (take_field(list, ',') == part) return true;
  return false;
}

// False for what is no whole number; "max" is one without limit.
bool read_number(std::string_view text, std::uint64_t& value) {
  if (text == "max") {
    value = kUnlimited;
    return true;
  }
  std::uint64_t result = 0;
  if (text.empty()) return false;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return false;
    if (__builtin_mul_overflow(result, std::uint64_t{10}, &result) ||
        __builtin_add_overflow(result, static_cast<std::uint64_t>(digit - '0'), &result))
      return false;
  }
  value = result;
  return true;
}

bool read_number_in(const char* path, std::uint64_t& value) {
  os::Lines lines(path);
  std::string_view line;
  return lines.next(line) && read_number(line, value);
}

// One hierarchy of control groups that limits memory: where it is mounted, and where in it this process is.
struct Hierarchy {
  bool is_found = false;
  Path mount;       // of the file system, with the root of the tests before it
  Path mount_root;  // the group that the mount point shows
  Path group;       // this process's
};

struct FileNames {
  const char* limit;
  const char* use;
};
constexpr FileNames kVersion2 = {"/memory.max", "/memory.current"};
constexpr FileNames kVersion1 = {"/memory.limit_in_bytes", "/memory.usage_in_bytes"};
// What version 1 shows for no limit is the largest multiple of a page.
constexpr std::uint64_t kVersion1Unlimited = std::uint64_t{1} << 62;

// mountinfo writes space, tab, newline and backslash as three octal digits.
void append_unescaped(Text& path, std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      path << static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      path << text[i];
    }
  }
}

enum class Version { k1, k2 };

void find_group(Version version, const char* root, Hierarchy& result) {
  TextOf<kPathMost> file;
  file << root << "/proc/self/cgroup" << '\0';
  os::Lines lines(file.view().data());
  for (std::string_view line; lines.next(line);) {
    const std::string_view number = take_field(line, ':');
    const std::string_view controllers = take_field(line, ':');
    const bool fits = version == Version::k2 ? number == "0" && controllers.empty() : has_part(controllers, "memory");
    if (!fits) continue;
    result.group << line;
    result.is_found = true;
    return;
  }
}

void find_mount(Version version, const char* root, Hierarchy& result) {
  TextOf<kPathMost> file;
  file << root << "/proc/self/mountinfo" << '\0';
  os::Lines lines(file.view().data());
  for (std::string_view line; lines.next(line);) {
    for (int i = 0; i < 3; ++i) static_cast<void>(take_field(line, ' '));  // mount id, parent id, device
    const std::string_view shown = take_field(line, ' ');
    const std::string_view place = take_field(line, ' ');
    while (!line.empty() && take_field(line, ' ') != "-") {
    }
    const std::string_view type = take_field(line, ' ');
    static_cast<void>(take_field(line, ' '));  // source
    const bool fits = version == Version::k2 ? type == "cgroup2" : type == "cgroup" && has_part(line, "memory");
    if (!fits) continue;
    result.mount << root;
    append_unescaped(result.mount, place);
    append_unescaped(result.mount_root, shown);
    return;
  }
  result.is_found = false;
}

// The group's path below the mount point, "" for the group that is mounted there.
std::string_view below_mount(const Hierarchy& hierarchy) {
  const std::string_view group = hierarchy.group.view();
  std::string_view shown = hierarchy.mount_root.view();
  if (shown == "/") shown = {};
  const bool is_below = start_of(group, shown.size()) == shown && (group.size() == shown.size() || group[shown.size()] == '/');
  // A group outside what is mounted here ("/../x", or another container's) has no files that could be read.
  if (!is_below || group.find("/..") != std::string_view::npos) return {};
  const std::string_view rest = after(group, shown.size());
  return rest == "/" ? std::string_view() : rest;
}

// The smallest limit from the group up to the mount point, and the use of the group that has it.
GroupUse smallest(Version version, const char* root) {
  GroupUse result;
  Hierarchy hierarchy;
  find_group(version, root, hierarchy);
  if (hierarchy.is_found) find_mount(version, root, hierarchy);
  if (!hierarchy.is_found || hierarchy.mount.is_full() || hierarchy.group.is_full()) return result;
  const FileNames names = version == Version::k2 ? kVersion2 : kVersion1;
  for (std::string_view path = below_mount(hierarchy);;) {
    TextOf<kPathMost> file;
    file << hierarchy.mount.view() << path << names.limit << '\0';
    std::uint64_t limit = kUnlimited;
    if (!file.is_full() && read_number_in(file.view().data(), limit) && limit < kVersion1Unlimited && limit < result.limit) {
      result.limit = limit;
      TextOf<kPathMost> use;
      use << hierarchy.mount.view() << path << names.use << '\0';
      if (use.is_full() || !read_number_in(use.view().data(), result.used)) result.used = 0;
    }
    if (path.empty()) return result;
    path = start_of(path, path.rfind('/'));
  }
}

GroupUse smallest_of_both(const char* root) {
  const GroupUse second = smallest(Version::k2, root);
  const GroupUse first = smallest(Version::k1, root);
  return first.limit < second.limit ? first : second;
}

std::uint64_t machine_bytes(const char* root) {
  TextOf<kPathMost> file;
  file << root << "/proc/meminfo" << '\0';
  os::Lines lines(file.view().data());
  constexpr std::string_view kTotal = "MemTotal:";
  for (std::string_view line; lines.next(line);) {
    if (start_of(line, kTotal.size()) != kTotal) continue;
    line = after(line, kTotal.size());
    while (!line.empty() && line[0] == ' ') line = after(line, 1);
    std::uint64_t kibibytes = 0;
    if (read_number(take_field(line, ' '), kibibytes)) return kibibytes * kKiB;
  }
  return kUnlimited;
}

std::uint64_t read_stalled(const char* path) {
  os::Lines lines(path);
  constexpr std::string_view kTotal = "total=";
  for (std::string_view line; lines.next(line);) {
    if (take_field(line, ' ') != "some") continue;
    while (!line.empty()) {
      const std::string_view field = take_field(line, ' ');
      std::uint64_t value = 0;
      if (start_of(field, kTotal.size()) == kTotal && read_number(after(field, kTotal.size()), value)) return value;
    }
  }
  return kUnlimited;
}

}  // namespace

MemoryLimit memory_limit(const char* root) {
  const GroupUse group = smallest_of_both(root);
  const std::uint64_t machine = machine_bytes(root);
  if (group.limit < machine) return {group.limit, true};
  return {machine, false};
}

GroupUse group_use(const char* root) { return smallest_of_both(root); }

std::uint64_t stalled_microseconds(PressureOf whose, const char* root) {
  TextOf<kPathMost> file;
  if (whose == PressureOf::kMachine) {
    file << root << "/proc/pressure/memory" << '\0';
  } else {
    Hierarchy hierarchy;
    find_group(Version::k2, root, hierarchy);
    if (hierarchy.is_found) find_mount(Version::k2, root, hierarchy);
    if (!hierarchy.is_found) return kUnlimited;
    file << hierarchy.mount.view() << below_mount(hierarchy) << "/memory.pressure" << '\0';
  }
  return file.is_full() ? kUnlimited : read_stalled(file.view().data());
}

}  // namespace nebula::machine
