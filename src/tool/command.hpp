// What the subcommands of `nebula` share. Each is a file of its own that adds itself to the command line and leaves its exit
// status behind. Failures are exceptions: their words go to standard error, their status is the program's.
//
// Statuses are those of env and timeout: 125 when nebula itself fails (bad usage, a file that cannot be read), 126 and 127
// when a program cannot be run or found; 1 when the answer of `nebula check` is no.
#pragma once

#include <CLI/App.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace nebula::tool {

inline constexpr int kNo = 1;
inline constexpr int kOwnFailure = 125;
inline constexpr int kNotRunnable = 126;
inline constexpr int kNotFound = 127;

class Failure : public std::runtime_error {
 public:
  explicit Failure(const std::string& words, int status = kOwnFailure) : std::runtime_error(words), status_(status) {}
  [[nodiscard]] int status() const { return status_; }

 private:
  int status_;
};

struct CommandLine {
  CLI::App app{"Runs programs on Nebula, the malloc replacement, and shows what they do with memory.", "nebula"};
  std::vector<std::string> program;  // what follows "--", or the first word that is no option, of run and check
  int status = 0;
};

void add_run(CommandLine& line);
void add_check(CommandLine& line);
void add_top(CommandLine& line);
void add_report(CommandLine& line);
void add_symbolize(CommandLine& line);
void add_diff(CommandLine& line);
void add_help(CommandLine& line);
void add_completion(CommandLine& line);

}  // namespace nebula::tool
