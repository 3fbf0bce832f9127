// nebula completion: scripts for bash and zsh, written from the command line's own description and the option table.
#include <CLI/Option.hpp>
#include <fmt/core.h>

#include "tool/command.hpp"
#include "tool/variables.hpp"

namespace nebula::tool {
namespace {

std::vector<std::string> flags_of(const CLI::App& command) {
  std::vector<std::string> flags;
  for (const CLI::Option* const option : command.get_options())
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  return flags;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* const command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> variable_names() {
  std::vector<std::string> names;
  for (const config::Option& option : config::options()) names.emplace_back(option.name);
  return names;
}

// Those whose value is the next word.
std::vector<std::string> flags_with_value(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::App* const command : app.get_subcommands({}))
    for (const CLI::Option* const option : command->get_options())
      if (option->get_items_expected_max() > 0)
        for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  return flags;
}

std::string flag_cases(const CLI::App& app, const char* form) {
  std::string cases;
  for (const CLI::App* const command : app.get_subcommands({}))
    cases += fmt::format(fmt::runtime(form), fmt::arg("command", command->get_name()), fmt::arg("flags", joined(flags_of(*command), " ")));
  return cases;
}

std::string for_bash(const CLI::App& app) {
  return fmt::format(R"script(# bash completion for nebula; written by `nebula completion bash`
_nebula() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}} flags= place
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W '{commands} --help --version' -- "$word")
    return
  fi
  case $command in
{cases}  esac
  if [[ $command == run || $command == check ]]; then
    # Behind "--" or the first word that is no option stands a program, with words of its own.
    for ((place = 2; place < COMP_CWORD; ++place)); do
      case ${{COMP_WORDS[place]}} in
        --) ((++place)); break ;;
        {values}) ((++place)) ;;
        -*) ;;
        *) break ;;
      esac
    done
    if ((place < COMP_CWORD)); then
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
    fi
    if ((place == COMP_CWORD)) && [[ $word != -* ]]; then
      mapfile -t COMPREPLY < <(compgen -c -- "$word")
      return
    fi
  fi
  case $before in
    --library|-o|--output|--debug-dir) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
    {values}) return ;;
  esac
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$word")
    return
  fi
  case $command in
    help) mapfile -t COMPREPLY < <(compgen -W '{variables}' -- "$word") ;;
    top) mapfile -t COMPREPLY < <(compgen -W "$(nebula top --once 2>/dev/null | awk 'NR > 1 {{ print $1 }}')" -- "$word") ;;
    report|diff|symbolize) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    completion) mapfile -t COMPREPLY < <(compgen -W 'bash zsh' -- "$word") ;;
  esac
}}
complete -o filenames -F _nebula nebula
)script",
                     fmt::arg("commands", joined(command_names(app), " ")),
                     fmt::arg("cases", flag_cases(app, "    {command}) flags='{flags}' ;;\n")),
                     fmt::arg("values", joined(flags_with_value(app), "|")), fmt::arg("variables", joined(variable_names(), " ")));
}

// For zsh, what stands between single quotes and in an option's [description].
std::string quoted(const std::string& words) {
  std::string text;
  for (const char letter : words) {
    if (letter == '\'') text += "'\\''";
    else if (letter == '[' || letter == ']' || letter == ':' || letter == '\\') (text += '\\') += letter;
    else text += letter;
  }
  return text;
}

std::string arguments_of(const CLI::App& command) {
  std::string text;
  for (const CLI::Option* const option : command.get_options()) {
    const bool has_value = option->get_items_expected_max() > 0;
    for (const std::string& name : option->get_lnames()) {
      const bool is_file = name == "library" || name == "output" || name == "debug-dir";
      text += fmt::format(" \\\n        '--{}[{}]{}'", name, quoted(option->get_description()),
                          !has_value ? "" : is_file ? ":file:_files" : ":value:");
    }
  }
  const std::string name = command.get_name();
  if (name == "run" || name == "check") text += " \\\n        '(-):program: _command_names -e' \\\n        '*::argument: _normal'";
  else if (name == "help") text += fmt::format(" \\\n        '1:variable:({})'", joined(variable_names(), " "));
  else if (name == "top") text += " \\\n        '1:process:($(nebula top --once 2>/dev/null | awk '\\''NR > 1 { print $1 }'\\''))'";
  else if (name == "completion") text += " \\\n        '1:shell:(bash zsh)'";
  else text += " \\\n        '*:report:_files'";
  return text;
}

std::string for_zsh(const CLI::App& app) {
  std::string commands;
  std::string cases;
  for (const CLI::App* const command : app.get_subcommands({})) {
    commands += fmt::format(" '{}:{}'", command->get_name(), quoted(command->get_description()));
    cases += fmt::format("    {})\n      _arguments -S{}\n      ;;\n", command->get_name(), arguments_of(*command));
  }
  return fmt::format(R"script(#compdef nebula
# zsh completion for nebula; written by `nebula completion zsh`
_nebula() {{
  local -a subcommands=({commands} )
  if (( CURRENT == 2 )); then
    _describe command subcommands
    return
  fi
  local command=$words[2]
  shift words
  (( --CURRENT ))
  case $command in
{cases}  esac
}}
if [[ $funcstack[1] == _nebula ]]; then _nebula "$@"; else compdef _nebula nebula; fi
)script",
                     fmt::arg("commands", commands), fmt::arg("cases", cases));
}

}  // namespace

void add_completion(CommandLine& line) {
  CLI::App* const completion = line.app.add_subcommand("completion", "Print the completion script of a shell.");
  const auto shell = std::make_shared<std::string>();
  completion->add_option("SHELL", *shell, "bash or zsh")->type_name("")->required();
  completion->callback([&line, shell] {
    if (*shell != "bash" && *shell != "zsh") throw Failure(fmt::format("completion: {} is not a shell this is written for; accepted: bash, zsh", *shell));
    fmt::print("{}", *shell == "bash" ? for_bash(line.app) : for_zsh(line.app));
  });
}

}  // namespace nebula::tool
