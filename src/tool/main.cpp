// The command `nebula`. Its subcommands are in the files beside this one.
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "tool/command.hpp"

namespace {

using nebula::tool::CommandLine;

// Everything behind the first "--" belongs to the program that run and check are about, and is not looked into.
std::vector<std::string> take_program(std::vector<std::string>& words) {
  const auto end = std::find(words.begin(), words.end(), "--");
  if (end == words.end()) return {};
  std::vector<std::string> program(end + 1, words.end());
  words.erase(end, words.end());
  return program;
}

int run(const std::vector<std::string>& arguments) {
  CommandLine line;
  line.app.require_subcommand(1);
  line.app.set_version_flag("--version", "nebula " NEBULA_VERSION);
  nebula::tool::add_run(line);
  nebula::tool::add_check(line);
  nebula::tool::add_top(line);
  nebula::tool::add_report(line);
  nebula::tool::add_symbolize(line);
  nebula::tool::add_diff(line);
  nebula::tool::add_help(line);
  nebula::tool::add_completion(line);

  std::vector<std::string> words = arguments;
  const auto is_meant = [&words](const CLI::App* command) { return command->get_name() == words[0]; };
  const auto commands = line.app.get_subcommands({});
  if (!words.empty() && words[0].rfind('-', 0) != 0 && std::none_of(commands.begin(), commands.end(), is_meant))
    throw nebula::tool::Failure(fmt::format("there is no command {}; `nebula --help` lists them", words[0]));
  if (!words.empty() && words[0].rfind('-', 0) == 0 && words[0] != "--help" && words[0] != "-h" && words[0] != "--version")
    throw nebula::tool::Failure(fmt::format("unknown option {}; `nebula --help` lists them", words[0]));
  const bool has_program = !words.empty() && (words[0] == "run" || words[0] == "check");
  if (has_program) line.program = take_program(words);
  std::reverse(words.begin(), words.end());  // as CLI11 wants them
  try {
    line.app.parse(words);
  } catch (const CLI::Success& asked) {  // --help, --version
    return line.app.exit(asked);
  } catch (const CLI::ParseError& error) {
    const auto chosen = line.app.get_subcommands();
    fmt::print(stderr, "nebula: {}\nnebula: `nebula {}--help` says more\n", error.what(),
               chosen.empty() ? "" : chosen.front()->get_name() + ' ');
    return nebula::tool::kOwnFailure;
  }
  return line.status;
}

}  // namespace

int main(int count, char** words) {
  try {
    return run({words + 1, words + count});
  } catch (const nebula::tool::Failure& failure) {
    fmt::print(stderr, "nebula: {}\n", failure.what());
    return failure.status();
  } catch (const std::exception& failure) {
    fmt::print(stderr, "nebula: {}\n", failure.what());
    return nebula::tool::kOwnFailure;
  }
}
