// nebula check: says whether the preload reaches a program, and why not. Three looks: at the file, at what the loader binds
// (it is asked to load the program without starting it), and at the program itself, run for a few seconds.
#include <CLI/Option.hpp>
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "tool/command.hpp"
#include "tool/executable.hpp"
#include "tool/numbers.hpp"
#include "tool/pages.hpp"
#include "tool/programs.hpp"

namespace nebula::tool {
namespace {

namespace fs = std::filesystem;
using Environment = std::map<std::string, std::string>;

struct Wishes {
  std::string library;
  double seconds = 5;
  bool stays_unstarted = false;
};

void say(const std::string& subject, const std::string& words) { fmt::print("{:<9} {}\n", subject, words); std::fflush(stdout); }

// Starts a program; its output goes to `output`, or where this command's goes for -1.
pid_t start(const fs::path& path, const std::vector<std::string>& words, const Environment& variables, int output) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t process = fork();
  if (process < 0) throw Failure(fmt::format("{} cannot be run: {}", path.string(), std::strerror(errno)));
  if (process != 0) return process;
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  if (output >= 0) {
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
  }
  execvp(path.c_str(), arguments.data());
  _exit(kNotRunnable);
}

std::string read_all(int descriptor) {
  std::string text;
  char room[65536];
  for (ssize_t got; (got = read(descriptor, room, sizeof room)) > 0;) text.append(room, static_cast<std::size_t>(got));
  return text;
}

// What the loader answers when it is to load a program and say what it binds, without starting it.
std::string loader_trace(const fs::path& program, const std::string& preload) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw Failure(fmt::format("no pipe: {}", std::strerror(errno)));
  const Environment variables = {{"LD_PRELOAD", preload}, {"LD_TRACE_LOADED_OBJECTS", "1"}, {"LD_WARN", "yes"},
                                 {"LD_BIND_NOW", "yes"}, {"LD_DEBUG", "bindings"}};
  const pid_t loader = start(program, {program}, variables, ends[1]);
  close(ends[1]);
  std::string text = read_all(ends[0]);
  close(ends[0]);
  waitpid(loader, nullptr, 0);
  return text;
}

struct Bindings {
  std::map<std::string, unsigned> to;  // how many files' malloc is bound to that file's
  std::vector<std::string> complaints;
};

Bindings read_trace(const std::string& trace) {
  Bindings result;
  std::istringstream lines(trace);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t to = line.find("] to ");
    if (line.find("binding file ") != std::string::npos && line.find("symbol `malloc'") != std::string::npos && to != std::string::npos) {
      const std::string target = line.substr(to + 5, line.find(" [", to + 5) - to - 5);
      ++result.to[target];
    }
    const std::size_t error = line.find("ERROR: ld.so: ");
    if (error != std::string::npos || line.find("cannot open shared object") != std::string::npos ||
        line.find("version `") != std::string::npos)
      result.complaints.push_back(line.substr(error != std::string::npos ? error : 0));
  }
  return result;
}

// False when malloc is somebody else's.
bool look_at_loader(const Executable& executable, const fs::path& library) {
  const Bindings bindings = read_trace(loader_trace(executable.path, preload_with(library)));
  for (const std::string& complaint : bindings.complaints) say("loader", complaint);
  unsigned ours = 0;
  unsigned others = 0;
  std::string whose;
  for (const auto& [target, count] : bindings.to) {
    std::error_code none;
    // A program that takes malloc's address has an entry for it of its own, which leads to the malloc it is given.
    const bool leads_on = !executable.defines_malloc && fs::equivalent(target, executable.path, none);
    if (leads_on || fs::equivalent(target, library, none)) {
      ours += count;
    } else {
      others += count;
      whose += ' ' + target;
    }
  }
  if (ours + others == 0) say("loader", "it binds no malloc beforehand; the run decides");
  else say("loader", others == 0 ? fmt::format("binds malloc of {} {} to the library", ours, ours == 1 ? "file" : "files")
                                 : fmt::format("binds malloc of {} files to{}, of {} to the library", others, whose, ours));
  return others == 0 && bindings.complaints.empty();
}

void look_for_other_allocators(const Executable& executable) {
  for (const std::string& name : executable.libraries)
    if (const std::string other = allocator_named(name); !other.empty())
      say("linked", fmt::format("{} is an allocator too; the preload comes before it", name));
  const char* const preload = std::getenv("LD_PRELOAD");
  std::string list = preload != nullptr ? preload : "";
  std::replace(list.begin(), list.end(), ':', ' ');
  std::istringstream names(list);
  for (std::string name; names >> name;)
    if (const std::string other = allocator_named(fs::path(name).filename()); !other.empty())
      say("preload", fmt::format("LD_PRELOAD has {} already, which is an allocator too; Nebula is put before it", name));
  if (executable.defines_malloc) say("file", "it has a malloc of its own in it, which comes before any library's");
}

std::string status_in_words(int status) {
  if (WIFSIGNALED(status)) return fmt::format("ended by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

// A folder for the reports of the run, gone with this object.
class Scratch {
 public:
  Scratch() {
    std::string name = (fs::temp_directory_path() / "nebula-check-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw Failure(fmt::format("no folder in {}: {}", fs::temp_directory_path().string(), std::strerror(errno)));
    path_ = name;
  }
  ~Scratch() {
    std::error_code none;
    fs::remove_all(path_, none);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// The allocations that a report counts, from its line "total"; nothing when it has none.
std::optional<std::uint64_t> allocations_in(const fs::path& report) {
  std::ifstream file(report);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name, number;
    if (!(words >> name >> number) || name != "total") continue;
    number.erase(std::remove(number.begin(), number.end(), ','), number.end());
    return std::strtoull(number.c_str(), nullptr, 10);
  }
  return {};
}

std::optional<std::uint64_t> allocations_on_page(const PageFile* page) {
  if (page == nullptr) return {};
  const std::optional<Reading> reading = page->read();
  if (!reading) return {};
  std::uint64_t sum = reading->state.large_allocations;
  for (const live::ClassRow& row : reading->state.classes) sum += row.allocations;
  return sum;
}

// Its page, when it has one by now; what is stale is left for others to remove.
std::shared_ptr<PageFile> find_page(pid_t process) {
  for (ShownProcess& shown : list_pages().processes)
    if (shown.process == process) return std::move(shown.page);
  return nullptr;
}

// Runs the program; false when the library did not serve it.
bool look_at_run(const Wishes& wishes, const fs::path& program, const std::vector<std::string>& words, const fs::path& library) {
  using Clock = std::chrono::steady_clock;
  const Scratch scratch;
  const Environment variables = {{"LD_PRELOAD", preload_with(library)}, {"NEBULA_STATS", "1"}, {"NEBULA_LIVE", "1"},
                                 {"NEBULA_STATS_FILE", (scratch.path() / "%p").string()}};
  const auto begun = Clock::now();
  const auto deadline = begun + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(wishes.seconds));
  const pid_t process = start(program, words, variables, -1);
  std::shared_ptr<PageFile> page;  // for a program that ends without a report: by _exit, by a signal, by us
  int status = 0;
  bool is_running = true;
  for (unsigned looks = 0; is_running && Clock::now() < deadline; ++looks) {
    is_running = waitpid(process, &status, WNOHANG) == 0;
    if (!is_running) break;
    if (page == nullptr && (looks < 20 || looks % 16 == 0)) page = find_page(process);
    usleep(5000);
  }
  std::string end = status_in_words(status);
  if (is_running) {
    kill(process, SIGTERM);
    for (int i = 0; i < 200 && (is_running = waitpid(process, &status, WNOHANG) == 0); ++i) usleep(5000);
    if (is_running) {
      kill(process, SIGKILL);
      waitpid(process, &status, 0);
    }
    end = fmt::format("stopped after {} s", wishes.seconds);
  }
  std::optional<std::uint64_t> served = allocations_in(scratch.path() / std::to_string(process));
  if (!served) served = allocations_on_page(page.get());
  const auto reports = static_cast<std::uint64_t>(std::distance(fs::directory_iterator(scratch.path()), fs::directory_iterator()));
  const std::uint64_t others = reports - (fs::exists(scratch.path() / std::to_string(process)) ? 1 : 0);
  say("run", fmt::format("{}; {}{}", end, served ? grouped(*served) + " allocations served" : "no sign of the library",
                         others != 0 ? fmt::format(", and {} processes that it started", others) : ""));
  return served.value_or(0) != 0;
}

int verdict(bool is_good, const std::string& words) {
  say(is_good ? "yes" : "no", words);
  return is_good ? 0 : kNo;
}

int check(const Wishes& wishes, const std::vector<std::string>& words) {
  const fs::path program = find_program(words.front());
  const fs::path library = find_library(wishes.library);
  const Executable executable = inspect(program);
  for (const std::string& script : executable.scripts) say("script", script);
  say("program", fmt::format("{}: {}", executable.path.string(), executable.kind));
  say("library", library.string());
  look_for_other_allocators(executable);
  if (!executable.problem.empty()) return verdict(false, fmt::format("{} {}", executable.path.filename().string(), executable.problem));
  const bool is_bound = look_at_loader(executable, library);
  if (wishes.stays_unstarted)
    return verdict(is_bound, is_bound ? "the loader gives the program Nebula's malloc" : "the loader does not give the program Nebula's malloc");
  const bool is_served = look_at_run(wishes, program, words, library);
  if (is_served && is_bound) return verdict(true, "Nebula serves the program");
  if (is_served) return verdict(true, "Nebula serves the program, but not all of it: see what the loader says");
  return verdict(false, executable.defines_malloc ? "the program uses the malloc that is linked into it"
                                                  : "the library did not start in the program, or the program never allocated");
}

}  // namespace

void add_check(CommandLine& line) {
  CLI::App* const check_command = line.app.add_subcommand("check", "Say whether Nebula reaches a program, and why not.");
  check_command->footer("Behind the options: [--] PROGRAM [ARGUMENT...]. The program is run, with its own input and output, and ended\n"
                        "after a few seconds. Status 0: Nebula serves it. 1: it does not.");
  check_command->prefix_command();
  const auto wishes = std::make_shared<Wishes>();
  check_command->add_option("--seconds", wishes->seconds, "End the program after so long, 0.1 to 3600; 5 unless given")->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0).description(""));
  check_command->add_flag("--no-run", wishes->stays_unstarted, "Look at the file and the loader only; the program is not started");
  check_command->add_option("--library", wishes->library, "Preload this libnebula.so and no other")->type_name("PATH");
  check_command->callback([&line, check_command, wishes] {
    std::vector<std::string> words = check_command->remaining();
    words.insert(words.end(), line.program.begin(), line.program.end());
    if (words.empty()) throw Failure("check: no program; `nebula check [OPTIONS] -- PROGRAM [ARGUMENT...]`");
    if (words.front().size() > 1 && words.front().front() == '-')
      throw Failure(fmt::format("check: unknown option {}; `nebula check --help` lists them", words.front()));
    line.status = check(*wishes, words);
  });
}

}  // namespace nebula::tool
