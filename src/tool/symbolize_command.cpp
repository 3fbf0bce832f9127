// nebula symbolize: a heap profile with names of functions, files and lines, for programs that show profiles.
#include <CLI/Option.hpp>
#include <fmt/core.h>
#include <unistd.h>

#include "tool/command.hpp"
#include "tool/sites.hpp"
#include "tool/symbolize.hpp"

namespace nebula::tool {
namespace {

struct Wishes {
  std::string input;
  std::string output;
  std::vector<std::string> debug_folders;
  std::string form;
  std::string kind;
};

// Collapsed stacks have neither places in files nor the other three numbers.
constexpr const char* kNotBack = "{} has collapsed stacks, of which no pprof profile can be made; NEBULA_PROFILE_FORM=pprof writes one";

std::string form_of(const Wishes& wishes, const ProfileFile& profile) {
  const bool is_collapsed = std::holds_alternative<CollapsedStacks>(profile);
  if (wishes.form.empty()) return is_collapsed ? "collapsed" : "pprof";
  if (wishes.form != "pprof" && wishes.form != "collapsed")
    throw Failure(fmt::format("--form {} is not understood; accepted: pprof, collapsed", wishes.form));
  if (is_collapsed && wishes.form == "pprof") throw Failure(fmt::format(kNotBack, wishes.input));
  return wishes.form;
}

void symbolize(const Wishes& wishes) {
  const DebugFiles files(wishes.debug_folders);
  ProfileFile profile = read_profile(wishes.input);
  const std::string form = form_of(wishes, profile);
  if (!wishes.kind.empty() && (form == "pprof" || std::holds_alternative<CollapsedStacks>(profile)))
    throw Failure(fmt::format("--of {} is for collapsed stacks made of a pprof profile: nothing else has one kind of many", wishes.kind));
  if (form == "pprof" && wishes.output.empty() && isatty(STDOUT_FILENO) == 1)
    throw Failure("a pprof profile is not for a terminal: -o FILE, or --form collapsed");
  const std::vector<std::string> remarks = std::visit([&files](auto& read) { return give_names(read, files); }, profile);
  for (const std::string& words : remarks) fmt::print(stderr, "nebula: {}\n", words);
  if (const auto* const stacks = std::get_if<CollapsedStacks>(&profile)) {
    write_text(collapsed_text(sites_of(*stacks), 0), wishes.output);
    return;
  }
  const auto& pprof = std::get<pprof::Profile>(profile);
  if (form == "pprof") {
    write_pprof(pprof, wishes.output);
    return;
  }
  const Sites sites = sites_of(pprof, Places::kLeftOut);
  write_text(collapsed_text(sites, sites.kind(wishes.kind.empty() ? "inuse_space" : wishes.kind)), wishes.output);
}

}  // namespace

void add_symbolize(CommandLine& line) {
  CLI::App* const command = line.app.add_subcommand("symbolize", "Give a heap profile names of functions, files and lines.");
  const auto wishes = std::make_shared<Wishes>();
  command->add_option("PROFILE", wishes->input, "What NEBULA_PROFILE wrote: pprof's format or collapsed stacks")->type_name("")->required();
  command->add_option("-o,--output", wishes->output, "Where it goes; standard output otherwise")->type_name("FILE");
  command->add_option("--debug-dir", wishes->debug_folders, "Look here first, by build id, path or name; also more than once")->type_name("FOLDER")->allow_extra_args(false);
  command->add_option("--form", wishes->form, "pprof or collapsed, which flame graphs are made of; the form of PROFILE otherwise")->type_name("FORM");
  command->add_option("--of", wishes->kind, "For collapsed stacks: inuse_space (the default), inuse_objects, alloc_space or alloc_objects")->type_name("KIND");
  command->callback([wishes] { symbolize(*wishes); });
}

}  // namespace nebula::tool
