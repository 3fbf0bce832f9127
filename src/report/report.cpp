#include "report/report.hpp"

#include <atomic>
#include <bit>

#include "base/start_data.hpp"
#include "config/config.hpp"
#include "diag/message.hpp"
#include "heap/heap.hpp"
#include "heap/requests.hpp"
#include "os/memory.hpp"
#include "os/process.hpp"
#include "report/output.hpp"

namespace nebula::report {
namespace {

constexpr unsigned kWriterPatienceMilliseconds = 1000;  // for a report that another thread is writing
constexpr std::size_t kPathBytes = 1400;

struct FormFacts {
  std::uint8_t form;
  std::string_view suffix;
  std::string_view default_file;  // empty: standard error
  Write write;
};

NEBULA_START_DATA constinit Wishes wishes;
// Whose the last report is: nobody's yet, being written, written. A futex: whoever comes later waits for the end.
enum Stage : std::uint32_t { kNotBegun, kClaimed, kDone };
NEBULA_LATER_DATA constinit std::atomic<std::uint32_t> last_report{kNotBegun};
NEBULA_LATER_DATA constinit bool is_forked_child = false;
NEBULA_LATER_DATA constinit std::atomic<bool> writing{false};
// By whoever has writing. The snapshot is too large for a small stack.
alignas(kPageSize) constinit stats::Snapshot snapshot = {};  // as few pages as it fills
NEBULA_LATER_DATA constinit Occasion occasion;
NEBULA_LATER_DATA constinit std::uint64_t reports_composed = 0;  // of this process
NEBULA_LATER_DATA constinit Occasion lines_begun;                // of the first line: what their file is named after

constexpr FormFacts kForms[] = {
    {config::Form::kText, ".txt", {}, [](Text& text) { write_text(text, occasion, snapshot); }},
    {config::Form::kJson, ".json", "nebula.%e.%p.json", [](Text& text) { write_json(text, occasion, snapshot, Layout::kLines); }},
    {config::Form::kPrometheus, ".prom", "nebula.%e.%p.prom", [](Text& text) { write_prometheus(text, occasion, snapshot); }},
    {config::Form::kHtml, ".html", "nebula.%e.%p.html", [](Text& text) { write_html(text, occasion, snapshot); }},
};
constexpr FormFacts kLines = {0, ".jsonl", "nebula.%e.%p.jsonl",
                              [](Text& text) { write_json(text, occasion, snapshot, Layout::kOneLine); }};

// False when another thread is at it and does not finish soon.
bool begin_writing(unsigned patience_milliseconds) {
  const std::uint64_t deadline = os::nanoseconds() + std::uint64_t{patience_milliseconds} * 1'000'000;
  // acquire / release: the last writer's snapshot and buffer are done with.
  while (writing.exchange(true, std::memory_order_acquire)) {
    if (os::nanoseconds() > deadline) return false;
    os::yield_processor();
  }
  return true;
}

void end_writing() { writing.store(false, std::memory_order_release); }

// True for the first thread that comes to write the last report. The others wait for it, because the process ends when
// they go on, but not for ever: it may be this very thread, interrupted.
bool claim_last_report() {
  std::uint32_t stage = kNotBegun;
  // relaxed: only decides who writes; the snapshot is guarded by `writing`.
  if (last_report.compare_exchange_strong(stage, kClaimed, std::memory_order_relaxed)) return true;
  const std::uint64_t deadline = os::nanoseconds() + std::uint64_t{kWriterPatienceMilliseconds} * 1'000'000;
  // relaxed: nothing the writer wrote is read here.
  while (last_report.load(std::memory_order_relaxed) == kClaimed) {
    const std::uint64_t now = os::nanoseconds();
    if (now >= deadline) break;
    os::wait_while_for(last_report, kClaimed, static_cast<unsigned>((deadline - now) / 1'000'000 + 1));
  }
  return false;
}

void finish_last_report() {
  last_report.store(kDone, std::memory_order_relaxed);
  os::wake_all(last_report);
}

bool ends_with(std::string_view words, std::string_view end) {
  return words.size() >= end.size() && std::string_view(words.data() + words.size() - end.size(), end.size()) == end;
}

// Where a form goes, as a pattern; empty: to standard error.
std::string_view pattern_of(const FormFacts& form) { return wishes.file.empty() ? form.default_file : wishes.file; }

// Of several kinds of files, each has its suffix.
void write_path(const FormFacts& form, const Occasion& named_after, Text& path) {
  const std::string_view pattern = pattern_of(form);
  config::expand_path(pattern, {stats::process_id(), os::program_name(), named_after.sequence,
                                named_after.at_milliseconds / 1000}, path);
  const int kinds = std::popcount(wishes.forms) + (wishes.interval_milliseconds != 0 ? 1 : 0);
  if (!wishes.file.empty() && kinds > 1 && !ends_with(pattern, form.suffix)) path << form.suffix;
  path << '\0';
}

// In a child of fork a file is the parent's, unless its name has the process id; and at standard error only the parent tells
// how it ended.
bool may_write(const FormFacts& form) {
  if (!is_forked_child) return true;
  const std::string_view pattern = pattern_of(form);
  if (!pattern.empty()) return config::has_sign(pattern, 'p');
  return occasion.reason != Reason::kExit && occasion.reason != Reason::kUnderscoreExit && occasion.reason != Reason::kExecve;
}

void write_form(const FormFacts& form) {
  if (!may_write(form)) return;
  if (pattern_of(form).empty()) return to_standard_error(form.write);
  TextOf<kPathBytes> path;
  write_path(form, occasion, path);
  if (path.is_full()) say("the name of the report's file is too long");
  else to_file(path.view().data(), form.write);
}

void write_forms(std::uint8_t forms) {
  for (const FormFacts& form : kForms)
    if ((forms & form.form) != 0) write_form(form);
}

void write_line() {
  if (lines_begun.sequence == 0) lines_begun = occasion;
  TextOf<kPathBytes> path;
  write_path(kLines, lines_begun, path);
  if (may_write(kLines) && !path.is_full()) append_to_file(path.view().data(), wishes.rotate_at, kLines.write);
}

// Takes a snapshot and has it delivered, while the timeline stands still; nothing when another thread is at it and does not
// finish in time.
template <class Deliver>
void report_on(Reason reason, stats::Caller caller, unsigned patience_milliseconds, Deliver deliver) {
  if (!begin_writing(patience_milliseconds)) return;
  stats::HeldTimeline timeline;
  occasion = {reason, ++reports_composed, os::unix_milliseconds()};
  stats::take(snapshot, caller);
  timeline.add({snapshot.process.elapsed_milliseconds, snapshot.total.live_bytes, snapshot.committed_bytes,
                snapshot.process.resident_bytes});
  snapshot.timeline = timeline.points();
  deliver();
  end_writing();
}

// relaxed: after the last report there is none.
bool is_over() { return last_report.load(std::memory_order_relaxed) == kDone; }

// Text shows neither the timeline nor what is resident now: whoever wants no more pays for no more.
bool shows_time() { return (wishes.forms & ~config::Form::kText) != 0 || wishes.interval_milliseconds != 0; }

std::uint8_t forms_now() { return wishes.forms != 0 ? wishes.forms : std::uint8_t{config::Form::kText}; }

}  // namespace

std::string_view name_of(Reason reason) {
  constexpr std::string_view kNames[] = {"exit", "request", "signal", "interval", "budget", "abort", "crash", "_exit", "execve"};
  return kNames[static_cast<unsigned>(reason)];
}

void expect(const Wishes& wanted) {
  wishes = wanted;
  stats::note_process();
  os::read_huge_page_mode();
  heap::sample_requests();
  if (!shows_time()) return;
  os::watch_residence();
  stats::keep_timeline();
}

void note_fork() {
  is_forked_child = true;
  reports_composed = 0;
  lines_begun = {};
  last_report.store(kNotBegun, std::memory_order_relaxed);
  writing.store(false, std::memory_order_relaxed);
  if (!shows_time()) return;
  os::watch_residence();
  stats::reset_timeline_in_child();
}

void write_at_exit() {
  if (wishes.forms == 0 || !claim_last_report()) return;
  heap::flush_at_exit();  // a double free that is still in a pool is found now, and not counted as a free
  report_on(Reason::kExit, stats::Caller::kOutsideSlowPath, kWriterPatienceMilliseconds, [] { write_forms(wishes.forms); });
  finish_last_report();
}

void write_before_abort(std::string_view why) {
  if (!claim_last_report()) return;
  say(Level::kError, why);
  report_on(Reason::kAbort, stats::Caller::kOutsideSlowPath, kWriterPatienceMilliseconds, [] {
    to_standard_error(kForms[0].write);
    // As text once more where the text has a file.
    write_forms(wishes.file.empty() ? wishes.forms & ~config::Form::kText : wishes.forms);
  });
  finish_last_report();
}

void write_at_end(Reason reason) {
  if (!claim_last_report()) return;
  report_on(reason, stats::Caller::kOutsideSlowPath, kWriterPatienceMilliseconds, [] { write_forms(forms_now()); });
  finish_last_report();
}

void write_now(Reason reason, stats::Caller caller) {
  if (is_over()) return;
  report_on(reason, caller, kWriterPatienceMilliseconds, [] { write_forms(forms_now()); });
}

void append_line() {
  if (is_over()) return;
  report_on(Reason::kInterval, stats::Caller::kOutsideSlowPath, stats::kLockPatienceMilliseconds, write_line);
}

void between_reports(void (*write)()) {
  if (!begin_writing(kWriterPatienceMilliseconds)) return;
  write();
  end_writing();
}

void write_to_standard_error() {
  report_on(Reason::kRequest, stats::Caller::kOutsideSlowPath, stats::kLockPatienceMilliseconds,
            [] { to_standard_error(kForms[0].write); });
}

}  // namespace nebula::report
