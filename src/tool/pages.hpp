// Live pages (live/page.hpp) of processes of this machine, read without the processes' taking part.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "live/page.hpp"

namespace nebula::tool {

struct Reading {
  live::Header header;
  live::State state;
  std::uint64_t read_at_nanoseconds;  // CLOCK_MONOTONIC, as the page's own times
};

// What /proc says of a process.
struct ProcessFacts {
  char state = '?';
  std::uint64_t threads = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t swapped_bytes = 0;
};
[[nodiscard]] std::optional<ProcessFacts> facts_of(pid_t process);
[[nodiscard]] std::string state_in_words(char state);
// The name of a thread; "gone" when there is no such thread.
[[nodiscard]] std::string thread_name(pid_t process, std::uint64_t thread);

// An open page. It can be read on after the process has ended.
class PageFile {
 public:
  // Null when there is none; throws Failure when it is of a layout that this command does not know.
  [[nodiscard]] static std::unique_ptr<PageFile> open(const std::filesystem::path& path);
  ~PageFile();
  PageFile(const PageFile&) = delete;
  PageFile& operator=(const PageFile&) = delete;

  // Nothing only when the page is being written for the first time, or somebody cut the file short.
  [[nodiscard]] std::optional<Reading> read() const;
  // Whether the process has it mapped: not so after it has ended, become another program, or forked.
  [[nodiscard]] bool is_mapped_by(pid_t process) const;

 private:
  explicit PageFile(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

struct ShownProcess {
  pid_t process;
  std::filesystem::path path;
  std::shared_ptr<PageFile> page;
};
struct Listing {
  std::vector<ShownProcess> processes;  // by process id
  unsigned removed = 0;                 // pages of processes that have ended
  unsigned elsewhere = 0;               // of other process namespaces: not ours to judge
};
// All pages that this user may read, those that processes left behind removed.
[[nodiscard]] Listing list_pages();
// Throws Failure, with what to do, when the process has none.
[[nodiscard]] ShownProcess page_of(pid_t process);

}  // namespace nebula::tool
