#include "tool/pages.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "tool/command.hpp"

namespace nebula::tool {
namespace {

namespace fs = std::filesystem;

std::uint64_t monotonic_nanoseconds() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

template <class Value>
bool read_at(int file, Value& value, std::size_t offset, std::size_t bytes = sizeof(Value)) {
  return pread(file, &value, bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes);
}

// Names come from other processes, and end up on a terminal.
void make_printable(char (&name)[live::kNameBytes]) {
  name[live::kNameBytes - 1] = '\0';
  for (char& letter : name)
    if (letter != '\0' && (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f)) letter = '?';
}

std::uint64_t own_namespace() {
  struct stat facts = {};
  return stat("/proc/self/ns/pid", &facts) == 0 ? facts.st_ino : 0;
}

struct PageName {
  pid_t process;
  std::uint64_t process_namespace;
};

std::optional<PageName> parse_name(const std::string& name) {
  PageName result = {};
  const char* const end = name.data() + name.size();
  const auto first = std::from_chars(name.data(), end, result.process);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '.') return {};
  const auto second = std::from_chars(first.ptr + 1, end, result.process_namespace);
  if (second.ec != std::errc() || second.ptr != end) return {};
  return result;
}

std::vector<fs::path> folders() {
  std::set<fs::path> found;
  const std::string user = std::to_string(geteuid());
  if (const char* const runtime = std::getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime == '/')
    found.insert(fs::path(runtime) / "nebula");
  found.insert(fs::path("/run/user") / user / "nebula");
  found.insert("/tmp/nebula-" + user);
  std::error_code none;
  if (geteuid() == 0) {  // who sees everybody
    for (const auto& entry : fs::directory_iterator("/run/user", none)) found.insert(entry.path() / "nebula");
    for (const auto& entry : fs::directory_iterator("/tmp", none))
      if (entry.path().filename().string().rfind("nebula-", 0) == 0) found.insert(entry.path());
  }
  std::vector<fs::path> result;
  for (const fs::path& path : found)
    if (fs::is_directory(fs::symlink_status(path, none))) result.push_back(path);
  return result;
}

// The file may be another one by now: that of a process which got the same number in this instant.
void remove_if_still(const fs::path& path, int descriptor) {
  struct stat opened = {};
  struct stat named = {};
  if (fstat(descriptor, &opened) == 0 && lstat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
      opened.st_dev == named.st_dev)
    unlink(path.c_str());
}

}  // namespace

std::optional<ProcessFacts> facts_of(pid_t process) {
  std::ifstream status(fmt::format("/proc/{}/status", process));
  if (!status) return {};
  ProcessFacts facts;
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string key;
    std::uint64_t number = 0;
    words >> key;
    if (key == "State:") words >> facts.state;
    else if (key == "Threads:" && words >> number) facts.threads = number;
    else if (key == "VmRSS:" && words >> number) facts.resident_bytes = number * 1024;
    else if (key == "VmSwap:" && words >> number) facts.swapped_bytes = number * 1024;
  }
  return facts;
}

std::string state_in_words(char state) {
  switch (state) {
    case 'R': return "running";
    case 'S': return "sleeping";
    case 'D': return "waiting";
    case 'T': return "stopped";
    case 't': return "traced";
    case 'I': return "idle";
    case 'Z': return "dead";
    default: return std::string(1, state);
  }
}

std::string thread_name(pid_t process, std::uint64_t thread) {
  std::ifstream file(fmt::format("/proc/{}/task/{}/comm", process, thread));
  std::string name;
  if (!std::getline(file, name)) return "gone";
  for (char& letter : name)
    if (static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f) letter = '?';
  return name;
}

std::unique_ptr<PageFile> PageFile::open(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return nullptr;
  std::unique_ptr<PageFile> page(new PageFile(file));
  live::Header header = {};
  if (!read_at(file, header, 0) || header.magic != live::kMagic) return nullptr;
  if (header.layout_version != live::kLayoutVersion)
    throw Failure(fmt::format("{} has layout {}, and this nebula reads {}: the program runs on another version of the library",
                              path.string(), header.layout_version, live::kLayoutVersion));
  return page;
}

PageFile::~PageFile() { close(descriptor_); }

std::optional<Reading> PageFile::read() const {
  constexpr int kTries = 1000;
  Reading reading = {};
  for (int i = 0; i < kTries; ++i) {
    if (!read_at(descriptor_, reading.header, 0)) return {};
    const std::uint64_t sequence = reading.header.sequence;
    std::uint64_t after = 0;
    if (sequence == 0 || !read_at(descriptor_, reading.state, offsetof(live::Page, states) + sequence % 2 * sizeof(live::State)) ||
        !read_at(descriptor_, after, offsetof(live::Page, header.sequence)))
      return {};
    if (sequence != after) continue;
    make_printable(reading.header.program);
    make_printable(reading.header.library_version);
    reading.state.thread_rows = std::min<std::uint64_t>(reading.state.thread_rows, live::kThreadRows);
    reading.state.account_rows = std::min<std::uint64_t>(reading.state.account_rows, live::kAccountRows);
    reading.state.node_rows = std::min<std::uint64_t>(reading.state.node_rows, live::kNodeRows);
    for (std::uint64_t i = 0; i < reading.state.account_rows; ++i) make_printable(reading.state.accounts[i].name);
    for (std::uint64_t i = 0; i < reading.state.node_rows; ++i) make_printable(reading.state.nodes[i].purpose);
    reading.read_at_nanoseconds = monotonic_nanoseconds();
    return reading;
  }
  return {};
}

bool PageFile::is_mapped_by(pid_t process) const {
  struct stat facts = {};
  if (fstat(descriptor_, &facts) != 0) return false;
  std::ifstream maps(fmt::format("/proc/{}/maps", process));
  // "address permissions offset device inode path", the device as hexadecimal major:minor. Only shared mappings count.
  const std::string inode = std::to_string(facts.st_ino);
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    std::string range, permissions, offset, device, number;
    if (words >> range >> permissions >> offset >> device >> number && number == inode && permissions.back() == 's') return true;
  }
  return false;
}

Listing list_pages() {
  Listing listing;
  const std::uint64_t here = own_namespace();
  for (const fs::path& folder : folders()) {
    std::error_code none;
    for (const auto& entry : fs::directory_iterator(folder, none)) {
      const std::optional<PageName> name = parse_name(entry.path().filename().string());
      if (!name) continue;
      if (name->process_namespace != here) {
        ++listing.elsewhere;
        continue;
      }
      const int file = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
      if (file < 0) continue;
      std::shared_ptr<PageFile> page;
      try {
        page = PageFile::open(entry.path());
      } catch (const Failure& other_layout) {
        fmt::print(stderr, "nebula: {}\n", other_layout.what());
        close(file);
        continue;
      }
      if (page != nullptr && page->is_mapped_by(name->process)) {
        listing.processes.push_back({name->process, entry.path(), page});
      } else if (page != nullptr) {
        // Not mapped, and looked for again a moment later: the process may have been about to map it.
        usleep(2000);
        if (!page->is_mapped_by(name->process)) {
          remove_if_still(entry.path(), file);
          ++listing.removed;
        }
      }
      close(file);
    }
  }
  std::sort(listing.processes.begin(), listing.processes.end(),
            [](const ShownProcess& a, const ShownProcess& b) { return a.process < b.process; });
  return listing;
}

ShownProcess page_of(pid_t process) {
  if (!facts_of(process)) throw Failure(fmt::format("there is no process {}", process));
  for (ShownProcess& shown : list_pages().processes)
    if (shown.process == process) return shown;
  throw Failure(fmt::format("process {} shows no page: it has to be started with NEBULA_LIVE=1 (nebula run --live -- PROGRAM) "
                            "by the same user", process));
}

}  // namespace nebula::tool
