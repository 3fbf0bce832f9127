// nebula run: sets the variables and becomes the program.
#include <CLI/Option.hpp>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>

#include "tool/command.hpp"
#include "tool/executable.hpp"
#include "tool/programs.hpp"
#include "tool/variables.hpp"

namespace nebula::tool {
namespace {

struct Wishes {
  std::map<std::string, std::string> values;  // by the variable's name
  std::string statistics;
  std::string library;
};

// Of the options given here and of those that the environment has: a limit must not be dropped without a word.
std::string limit_asked_for(const Wishes& wishes) {
  for (const config::Option& option : config::options()) {
    if (option.kind != config::Option::Kind::kLimit) continue;
    const auto wish = wishes.values.find(option.name);
    if ((wish != wishes.values.end() && !wish->second.empty()) || std::getenv(option.name) != nullptr) return option.name;
  }
  return {};
}

void say_if_out_of_reach(const Wishes& wishes, const std::filesystem::path& program) {
  const Executable executable = inspect(program);
  if (executable.problem.empty()) return;
  const std::string words = fmt::format("{} {}: Nebula does not reach it", executable.path.string(), executable.problem);
  if (const std::string limit = limit_asked_for(wishes); !limit.empty())
    throw Failure(fmt::format("{}; not running it without {}", words, limit));
  fmt::print(stderr, "nebula: {}\n", words);
}

void become(const Wishes& wishes, const std::vector<std::string>& words) {
  const std::filesystem::path program = find_program(words.front());
  const std::filesystem::path library = find_library(wishes.library);
  for (const auto& [name, value] : wishes.values) {
    if (value.empty()) continue;
    require_understood(*find_option(name), value);
    setenv(name.c_str(), value.c_str(), 1);
  }
  if (!wishes.statistics.empty())
    for (const Setting& setting : statistics_settings(wishes.statistics)) setenv(setting.name.c_str(), setting.value.c_str(), 1);
  say_if_out_of_reach(wishes, program);
  setenv("LD_PRELOAD", preload_with(library).c_str(), 1);
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  execvp(program.c_str(), arguments.data());  // as a shell does, it runs a script without a first line by /bin/sh
  throw Failure(fmt::format("{} cannot be run: {}", program.string(), std::strerror(errno)), kNotRunnable);
}

}  // namespace

void add_run(CommandLine& line) {
  CLI::App* const run = line.app.add_subcommand("run", "Run a program on Nebula.");
  run->footer("Behind the options: [--] PROGRAM [ARGUMENT...]. Its input, output and exit status are its own; 125 is for failures\n"
              "of nebula, 126 and 127 for a program that cannot be run or found. Variables that are set already stay;\n`nebula help VARIABLE` says what each takes.");
  run->prefix_command();
  const auto wishes = std::make_shared<Wishes>();
  run->add_option("--stats", wishes->statistics, "FORM[:FILE]: the report's form, as NEBULA_STATS takes it, and its file");
  for (const config::Option& option : config::options()) {
    if (!has_flag(option)) continue;
    std::string& value = wishes->values[option.name];
    const std::string words = fmt::format("{} ({}{})", option.description, option.name, is_switch(option) ? std::string("=") + switched(option) : "");
    if (is_switch(option)) run->add_flag_callback(flag_of(option), [&value, &option] { value = switched(option); }, words);
    else run->add_option(flag_of(option), value, words)->type_name("VALUE");
  }
  run->add_option("--library", wishes->library, "Preload this libnebula.so and no other")->type_name("PATH");
  run->callback([&line, run, wishes] {
    std::vector<std::string> words = run->remaining();
    if (!words.empty() && !line.program.empty()) words.emplace_back("--");
    words.insert(words.end(), line.program.begin(), line.program.end());
    if (words.empty()) throw Failure("run: no program; `nebula run [OPTIONS] -- PROGRAM [ARGUMENT...]`");
    if (words.front().size() > 1 && words.front().front() == '-')
      throw Failure(fmt::format("run: unknown option {}; `nebula run --help` lists them", words.front()));
    become(*wishes, words);
  });
}

}  // namespace nebula::tool
