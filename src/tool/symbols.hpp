// From an address in a program or library to functions, files and lines, by elfutils' libdw: the lines of inlined calls too,
// else what the table of symbols says. One SymbolFile for each module of a profile.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tool/debug_files.hpp"

namespace nebula::tool {

struct Frame {
  std::string name;          // as people write it
  std::string linkage_name;  // as the linker has it
  std::string file;          // empty: unknown
  int line = 0;              // in the file, of this call; 0: unknown
  int start_line = 0;        // of the function
};

// The part of a file that was mapped with its code.
struct MappedCode {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t offset;  // in the file
};

class SymbolFile {
 public:
  SymbolFile(const ModuleName& module, const DebugFiles& files);
  ~SymbolFile();
  SymbolFile(const SymbolFile&) = delete;
  SymbolFile& operator=(const SymbolFile&) = delete;

  // What to tell people of it: why there are no names, or what is doubtful. Empty: nothing.
  [[nodiscard]] const std::string& remark() const { return remark_; }

  // What was added to the file's addresses when it was mapped so; 0 too where no file was found.
  [[nodiscard]] std::uint64_t bias_of(const MappedCode& code) const;
  // At this address of the file, the innermost first; none where it has no name.
  [[nodiscard]] std::vector<Frame> frames(std::uint64_t address) const;

 private:
  struct Session;  // libdw's

  [[nodiscard]] std::vector<Frame> inlined_frames(std::uint64_t address) const;
  [[nodiscard]] std::vector<Frame> symbol_at(std::uint64_t address) const;

  std::string remark_;
  std::unique_ptr<Session> session_;  // null: no file was found
};

}  // namespace nebula::tool
