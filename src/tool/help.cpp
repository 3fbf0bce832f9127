// nebula help: the commands, or what a variable is for, from the library's own table.
#include <CLI/Option.hpp>
#include <fmt/core.h>

#include <cctype>

#include "tool/command.hpp"
#include "tool/variables.hpp"

namespace nebula::tool {
namespace {

// "budget", "--budget-soft" and "NEBULA_BUDGET" all mean a variable.
std::string variable_meant(std::string word) {
  word.erase(0, word.find_first_not_of('-') == std::string::npos ? 0 : word.find_first_not_of('-'));
  for (char& letter : word) letter = letter == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  return word.rfind("NEBULA_", 0) == 0 ? word : "NEBULA_" + word;
}

void explain(const std::string& word) {
  const std::string name = variable_meant(word);
  const config::Option* const option = find_option(name);
  if (option == nullptr) {
    const config::Option* const near = config::nearest(name);
    throw Failure(near != nullptr ? fmt::format("{} is not a variable of Nebula; did you mean {}?", word, near->name)
                                  : fmt::format("{} is not a variable of Nebula; `nebula help` lists them", word));
  }
  fmt::print("{}\n  {}\n  accepted: {}\n  default:  {}\n", option->name, option->description, option->form, option->default_value);
  if (has_flag(*option)) fmt::print("  command:  nebula run {}{} -- PROGRAM\n", flag_of(*option), is_switch(*option) ? "" : " VALUE");
  else if (name.rfind("NEBULA_STATS", 0) == 0) fmt::print("  command:  nebula run --stats FORM[:FILE] -- PROGRAM\n");
  if (option->kind == config::Option::Kind::kLimit) fmt::print("  A value that cannot be understood keeps the program from starting.\n");
}

void list(const CLI::App& app) {
  fmt::print("{}\nVariables (nebula help VARIABLE says more):\n", app.get_formatter()->make_help(&app, "nebula", CLI::AppFormatMode::Normal));
  for (const config::Option& option : config::options()) fmt::print("  {:<24}{}\n", option.name, option.description);
}

}  // namespace

void add_help(CommandLine& line) {
  CLI::App* const help = line.app.add_subcommand("help", "List the commands and variables, or explain a variable.");
  const auto variable = std::make_shared<std::string>();
  help->add_option("VARIABLE", *variable, "NEBULA_BUDGET, or budget")->type_name("");
  help->prefix_command();  // "--budget" is asked about, not set
  help->callback([&line, help, variable] {
    if (variable->empty() && !help->remaining().empty()) *variable = help->remaining().front();
    variable->empty() ? list(line.app) : explain(*variable);
  });
}

}  // namespace nebula::tool
