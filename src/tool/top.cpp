// nebula top: the list of programs that show a page, and one of them in detail; again and again on a terminal, once into
// anything else.
#define NCURSES_NOMACROS
#include <CLI/Option.hpp>
#include <curses.h>
#include <fmt/core.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <clocale>
#include <map>

#include "tool/command.hpp"
#include "tool/top_view.hpp"

namespace nebula::tool {
namespace {

struct Wishes {
  int process = 0;  // 0: all
  bool once = false;
  double interval = 1;
};

// Looks at a page again; false when the process has ended.
bool look(Watched& process) {
  process.before = process.now;
  process.now = process.shown.page->read();
  process.facts = facts_of(process.shown.process);
  if (!process.now) process.now = process.before;
  return process.facts.has_value() && process.shown.page->is_mapped_by(process.shown.process);
}

std::vector<Watched> look_at_all(const std::vector<Watched>& last) {
  std::vector<Watched> result;
  for (ShownProcess& shown : list_pages().processes) {
    Watched process;
    for (const Watched& old : last)
      if (old.shown.process == shown.process && old.shown.path == shown.path) process.now = old.now;
    process.shown = std::move(shown);
    if (look(process) && process.now) result.push_back(std::move(process));
  }
  return result;
}

void print(const std::vector<Line>& lines) {
  for (const Line& line : lines) fmt::print("{}\n", line.text);
}

constexpr const char* kNobody = "no program shows a page; `nebula run --live -- PROGRAM` starts one that does";

void print_once(const Wishes& wishes) {
  if (wishes.process == 0) {
    const std::vector<Watched> processes = look_at_all({});
    print(list_view(processes));
    if (processes.empty()) fmt::print(stderr, "nebula: {}\n", kNobody);
    return;
  }
  Watched process;
  process.shown = page_of(wishes.process);
  look(process);
  if (!process.now) throw Failure(fmt::format("the page of process {} is not written yet", wishes.process));
  print(exact_view(process));
}

constexpr int kQuit = 'q';

class Screen {
 public:
  Screen() {
    std::setlocale(LC_ALL, "");
    if (newterm(nullptr, stdout, stdin) == nullptr) throw Failure("the terminal is not known to ncurses (TERM); --once prints plainly");
    cbreak();
    noecho();
    keypad(stdscr, true);
    curs_set(0);
  }
  ~Screen() { endwin(); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  [[nodiscard]] unsigned width() const { return static_cast<unsigned>(std::max(getmaxx(stdscr), 1)); }

  // `chosen`: the line to mark, or -1.
  void show(const std::vector<Line>& lines, int chosen, const std::string& keys) const {
    const int rows = getmaxy(stdscr);
    erase();
    for (int row = 0; row < rows - 1 && row < static_cast<int>(lines.size()); ++row) {
      const Line& line = lines[static_cast<std::size_t>(row)];
      const bool marked = row == chosen || line.style == Line::Style::kHeading;
      attrset(marked ? A_REVERSE : line.style == Line::Style::kTitle ? A_BOLD : A_NORMAL);
      std::string text = line.text;
      if (marked) text.resize(std::max<std::size_t>(text.size(), width() - 1), ' ');
      mvaddnstr(row, 0, text.c_str(), static_cast<int>(width() - 1));
    }
    attrset(A_DIM);
    mvaddnstr(rows - 1, 0, keys.c_str(), static_cast<int>(width() - 1));
    attrset(A_NORMAL);
    refresh();
  }

  // A key, or ERR when none came for so long. That the terminal is gone counts as the key that ends.
  [[nodiscard]] int wait(double seconds) const {
    wtimeout(stdscr, static_cast<int>(seconds * 1000));
    const int key = wgetch(stdscr);
    return key == ERR && is_gone() ? kQuit : key;
  }

 private:
  // Where a hangup is ignored (nohup), a read fails at once from then on, and nobody would ever wait again.
  static bool is_gone() {
    pollfd terminal = {STDIN_FILENO, POLLIN, 0};
    return poll(&terminal, 1, 0) > 0 && (terminal.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
  }
};

constexpr int kEscape = 27;
bool is_quit(int key) { return key == kQuit || key == 'Q'; }
bool is_enter(int key) { return key == '\n' || key == '\r' || key == KEY_ENTER; }

enum class Next { kBack, kQuit };

Next watch(const Screen& screen, ShownProcess shown, double interval) {
  Watched process;
  process.shown = std::move(shown);
  for (;;) {
    const bool is_there = look(process);
    std::vector<Line> lines;
    if (process.now) lines = process_view(process, screen.width());
    if (!is_there) lines.insert(lines.begin(), {Line::Style::kTitle, "The process has ended; this is what it was last."});
    screen.show(lines, -1, fmt::format("every {} s   q quit   Esc list", interval));
    const int key = screen.wait(interval);
    if (is_quit(key)) return Next::kQuit;
    if (key == kEscape || key == KEY_LEFT || key == KEY_BACKSPACE) return Next::kBack;
  }
}

void watch_all(const Screen& screen, double interval) {
  std::vector<Watched> processes;
  int chosen = 0;
  for (;;) {
    processes = look_at_all(processes);
    const int last = static_cast<int>(processes.size()) - 1;
    for (;;) {
      chosen = std::clamp(chosen, 0, std::max(last, 0));
      std::vector<Line> lines = list_view(processes);
      if (processes.empty()) lines.push_back({Line::Style::kPlain, kNobody});
      screen.show(lines, processes.empty() ? -1 : chosen + 1, fmt::format("every {} s   q quit   up, down, Enter: one process", interval));
      const int key = screen.wait(interval);
      if (is_quit(key)) return;
      if (key == KEY_UP || key == 'k') --chosen;
      else if (key == KEY_DOWN || key == 'j') ++chosen;
      else if (is_enter(key) && !processes.empty()) {
        if (watch(screen, processes[static_cast<std::size_t>(chosen)].shown, interval) == Next::kQuit) return;
        break;
      } else break;
    }
  }
}

void show(const Wishes& wishes) {
  if (wishes.once || isatty(STDOUT_FILENO) == 0 || isatty(STDIN_FILENO) == 0) return print_once(wishes);
  if (wishes.process == 0) {
    const Screen screen;
    return watch_all(screen, wishes.interval);
  }
  ShownProcess shown = page_of(wishes.process);  // what is wrong is said before the screen changes
  const Screen screen;
  if (watch(screen, std::move(shown), wishes.interval) == Next::kBack) watch_all(screen, wishes.interval);
}

}  // namespace

void add_top(CommandLine& line) {
  CLI::App* const top = line.app.add_subcommand("top", "Watch programs that run with NEBULA_LIVE=1, without stopping them.");
  top->footer("Without a process id it lists all of them. Into a file or pipe it prints once.");
  const auto wishes = std::make_shared<Wishes>();
  top->add_option("PID", wishes->process, "The process")->type_name("")->check(CLI::Range(1, 1 << 30).description(""));
  top->add_flag("--once", wishes->once, "Print once, plainly; of one process every number exactly");
  top->add_option("--interval", wishes->interval, "Seconds between looks, 0.1 to 3600")->type_name("SECONDS")
      ->check(CLI::Range(0.1, 3600.0).description(""));
  top->callback([wishes] { show(*wishes); });
}

}  // namespace nebula::tool
