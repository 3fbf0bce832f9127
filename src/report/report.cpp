#include "report/report.hpp"

#include <atomic>

#include "config/config.hpp"
#include "diag/message.hpp"
#include "heap/heap.hpp"
#include "os/memory.hpp"
#include "os/process.hpp"
#include "report/forms.hpp"
#include "stats/snapshot.hpp"

namespace nebula::report {
namespace {

constexpr unsigned kWriterPatienceMilliseconds = 1000;  // for a report that another thread is writing
constexpr std::size_t kTextBytes = 24 * kKiB;

constinit Destination destination;
// Whose the last report is: nobody's yet, being written, written. A futex: whoever comes later waits for the end.
enum Stage : std::uint32_t { kNotBegun, kClaimed, kDone };
constinit std::atomic<std::uint32_t> last_report{kNotBegun};
constinit std::uint64_t reports_composed = 0;  // of this process; by whoever has writing
constinit bool is_forked_child = false;
constinit char text_room[kTextBytes];  // by whoever has writing
constinit std::atomic<bool> writing{false};

constinit stats::Snapshot snapshot = {};  // by whoever has writing: too large for a small stack

// False when another thread is at it and does not finish soon.
bool begin_writing(unsigned patience_milliseconds) {
  const std::uint64_t deadline = os::nanoseconds() + std::uint64_t{patience_milliseconds} * 1'000'000;
  // acquire / release: the last writer's text_room and snapshot are done with.
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
  // relaxed: only decides who writes; the text is guarded by `writing`.
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

std::string_view compose() {
  ++reports_composed;
  Text text(text_room, sizeof text_room);
  stats::take(snapshot);
  write_text(text, snapshot);
  return text.view();
}

void write_file(std::string_view words) {
  TextOf<1400> path;
  config::expand_path(destination.file, stats::process_id(), os::program_name(), reports_composed, path);
  const int file = path.is_full() ? -1 : os::create_file(path.view().data());
  if (file < 0) {
    TextOf<1400> line;
    line << "the report cannot be written to NEBULA_STATS_FILE=" << destination.file << ": ";
    if (file == os::kNoPlainFile) line << "neither a file nor a character device";
    else (line << "error ").plain(static_cast<std::uint64_t>(-file));
    say(line.view());
    return;
  }
  os::write_all(file, words);
  os::close_file(file);
}

// The file is the parent's, unless its name has the process id.
bool may_write() {
  if (!is_forked_child) return true;
  for (std::size_t i = 0; i + 1 < destination.file.size(); ++i)
    if (destination.file[i] == '%' && destination.file[i + 1] == 'p') return true;
  return false;
}

}  // namespace

void expect_report(const Destination& wanted) {
  destination = wanted;
  os::read_huge_page_mode();
}

void note_fork() {
  is_forked_child = true;
  reports_composed = 0;
  last_report.store(kNotBegun, std::memory_order_relaxed);
  writing.store(false, std::memory_order_relaxed);
}

void write_at_exit() {
  if (!destination.wanted || !may_write() || !claim_last_report()) return;
  heap::flush_this_thread();  // a double free that is still in a pool is found now, and not counted as a free
  if (begin_writing(kWriterPatienceMilliseconds)) {
    const std::string_view words = compose();
    if (!destination.file.empty()) write_file(words);
    else nebula::write_to_standard_error(words);
    end_writing();
  }
  finish_last_report();
}

void write_before_abort(std::string_view why) {
  if (!claim_last_report()) return;
  say(why);
  if (begin_writing(kWriterPatienceMilliseconds)) {
    const std::string_view words = compose();
    nebula::write_to_standard_error(words);
    if (!destination.file.empty() && may_write()) write_file(words);
    end_writing();
  }
  finish_last_report();
}

void write_to_standard_error() {
  if (!begin_writing(stats::kLockPatienceMilliseconds)) return;
  const std::string_view words = compose();
  nebula::write_to_standard_error(words);
  end_writing();
}

Totals totals() {
  if (!begin_writing(stats::kLockPatienceMilliseconds)) return {};
  const stats::Snapshot& s = snapshot;
  stats::take(snapshot);
  // Whoever subtracts one of these from the other must not get below zero.
  const std::uint64_t committed = s.at_rest ? s.committed_bytes : s.sum_of_lines();
  const Totals result = {s.total.live_bytes, s.pooled_bytes, s.depot_bytes, s.slab_free_bytes, s.dirty_bytes,
                         s.metadata_bytes, committed, s.mapped_bytes > committed ? s.mapped_bytes - committed : 0,
                         s.mapped_bytes, s.all_small.live + s.large.live, s.large.live_bytes, s.large.live};
  end_writing();
  return result;
}

}  // namespace nebula::report
