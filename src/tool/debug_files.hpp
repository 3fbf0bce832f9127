// Which file on this machine is the one that a profile names: by path and build id, in given folders first.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace nebula::tool {

// Of a module as the profile has it; the id in hexadecimal digits, empty where it had none.
struct ModuleName {
  std::string path;
  std::string build_id;
};

class DebugFiles {
 public:
  // Throws Failure for a folder that is none.
  explicit DebugFiles(const std::vector<std::string>& folders);

  struct Found {
    std::filesystem::path path;          // empty: there is none
    std::vector<std::string> refusals;   // "/usr/bin/x has build id 12, not 34", for each file of that name that is another
  };
  // The program or library itself; where there is none, the file with its debug information alone.
  [[nodiscard]] Found find(const ModuleName& module) const;
  // A file of that build id with debug information in the given folders, or empty.
  [[nodiscard]] std::filesystem::path find_debug(const ModuleName& module) const;

  // The folders in which libdw is to look for debug information, as it wants them.
  [[nodiscard]] std::string search_path() const;

 private:
  std::vector<std::filesystem::path> folders_;
};

}  // namespace nebula::tool
