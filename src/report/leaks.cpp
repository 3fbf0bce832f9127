#include "report/leaks.hpp"

#include <atomic>

#include "base/start_data.hpp"
#include "heap/heap.hpp"
#include "os/process.hpp"
#include "profiling/forms.hpp"
#include "report/output.hpp"
#include "report/report.hpp"
#include "stats/leftover.hpp"
#include "stats/snapshot.hpp"

namespace nebula::report {
namespace {

using profiling::Site;
using profiling::Sums;
namespace sites = profiling::sites;

constexpr unsigned kSitesMost = 20;
constexpr unsigned kFramesShown = 32;

NEBULA_LATER_DATA constinit std::atomic<bool> is_to_write{false};  // relaxed: only decides who writes
// Too large for a small stack; by whoever writes between reports.
constinit stats::Snapshot snapshot = {};
constinit stats::Leftover leftover = {};

struct Count {
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;

  void add(const Count& other) {
    objects += other.objects;
    bytes += other.bytes;
  }
};

// By kind: a size class, large, or in bump blocks.
const stats::Objects& live_of(unsigned kind) {
  if (kind == stats::Leftover::kInBlocks) return snapshot.bump;
  return kind == stats::Leftover::kLarge ? snapshot.large : snapshot.classes[kind];
}

Count left_of(unsigned kind) {
  const stats::Leftover::Kept& kept = leftover.kept[kind];
  return {at_least_zero(live_of(kind).live, kept.objects), at_least_zero(live_of(kind).live_bytes, kept.bytes)};
}

void write_count(Text& text, std::string_view name, Count count) {
  text << "  ";
  text.left(name, 20).right(count.objects, 15).right(count.bytes, 20) << '\n';
}

void write_by_size(Text& text, Count all, Count in_handlers) {
  text << "\nby size, exact               objects               bytes\n";
  for (unsigned c = kClassFirst; c < kClassEnd; ++c) {
    const Count count = left_of(c);
    if (count.objects == 0) continue;
    TextOf<32> name;
    name << "size " << std::uint64_t{kSizeClasses.slot_size[c]};
    write_count(text, name.view(), count);
  }
  if (const Count count = left_of(stats::Leftover::kLarge); count.objects != 0) write_count(text, "large", count);
  if (const Count count = left_of(stats::Leftover::kInBlocks); count.objects != 0) write_count(text, "in blocks", count);
  if (in_handlers.objects != 0) write_count(text, "in handlers", in_handlers);
  write_count(text, "total", all);
}

// The one with most bytes among those that come behind `last` in that order; between equals, where they lie decides.
struct Ranked {
  std::uint64_t bytes = ~std::uint64_t{0};
  const Site* site = nullptr;
  auto operator<=>(const Ranked&) const = default;
};
Ranked next_largest(const Ranked& last) {
  Ranked best = {0, nullptr};
  unsigned position = 0;
  while (const Site* const site = sites::next(position)) {
    const Ranked found = {site->left().weight.bytes, site};
    if (found.bytes != 0 && found < last && found > best) best = found;
  }
  return best;
}

void write_site(Text& text, const Site& site) {
  const Sums left = site.left();
  text << "  about " << left.bytes() << " bytes (standard error " << left.bytes_error() << ") in " << left.objects() << " objects, from "
       << left.samples << (left.samples == 1 ? " sample\n" : " samples\n");
  for (unsigned i = 0; i < site.depth && i < kFramesShown; ++i) {
    text << "      ";
    if (site.frames()[i] != 0) profiling::write_frame(text, profiling::code_map::location_at(site.frames()[i]));
    else text << "unknown";
    text << '\n';
  }
  if (site.depth > kFramesShown || site.is_cut) text << "      (more)\n";
  if (site.depth == 0) text << "      (no room for its stack)\n";
}

void write_by_site(Text& text) {
  if (profiling::period() == 0) {
    text << "\nby call site: unknown, there was no memory for samples\n";
    return;
  }
  std::uint64_t samples = 0;
  std::uint64_t count = 0;
  unsigned position = 0;
  while (const Site* const site = sites::next(position)) {
    const std::uint64_t left = site->left().samples;
    samples += left;
    count += left != 0 ? 1 : 0;
  }
  text << "\nby call site, estimated from " << samples << (samples == 1 ? " sample" : " samples") << ", one in " << profiling::period()
       << " bytes\n";
  if (samples == 0) text << "  none of it was a sample: NEBULA_PROFILE with a smaller size than that takes more\n";
  Ranked last;
  unsigned shown = 0;
  while (shown < kSitesMost && (last = next_largest(last)).site != nullptr) {
    write_site(text, *last.site);
    ++shown;
  }
  if (count > shown) text << "  and " << count - shown << " other sites\n";
}

void write_leaks(Text& text) {
  const Count in_handlers = {snapshot.in_handlers.live, snapshot.in_handlers.live_bytes};
  Count all = in_handlers;
  Count kept;
  for (unsigned kind = 0; kind < stats::Leftover::kKinds; ++kind) {
    all.add(left_of(kind));
    kept.add({leftover.kept[kind].objects, leftover.kept[kind].bytes});
  }
  text << "nebula leaks: ";
  for (const char letter : std::string_view(os::program_name())) text << (letter == '\n' ? '?' : letter);
  text << ", pid ";
  text.plain(static_cast<std::uint64_t>(stats::process_id()))
      << ": " << all.objects << (all.objects == 1 ? " object, " : " objects, ") << all.bytes << " bytes still allocated at the exit\n";
  if (leftover.is_complete)
    text << "  (and " << kept.objects << " objects, " << kept.bytes << " bytes that the C and C++ libraries and the loader keep)\n";
  else
    text << "  (among them what the C and C++ libraries and the loader keep: threads would not pause, or there was no memory to look)\n";
  if (!snapshot.at_rest || snapshot.threads.threads_now > 1) text << "  (threads were running: free slots in their pools may be among it)\n";
  if (all.objects == 0) return;
  write_by_size(text, all, in_handlers);
  write_by_site(text);
}

void look_and_write() {
  // Depots go back to their slabs: what they hold would look allocated to whoever meets an old pointer to it.
  heap::flush_this_thread();
  static_cast<void>(heap::trim());
  stats::find_leftover(leftover);
  stats::take(snapshot);
  to_standard_error(write_leaks);
}

}  // namespace

void expect_leaks() { is_to_write.store(true, std::memory_order_relaxed); }

void write_leaks_at_exit() {
  if (is_to_write.exchange(false, std::memory_order_relaxed)) between_reports(look_and_write);
}

void note_fork_of_leaks() { is_to_write.store(false, std::memory_order_relaxed); }

}  // namespace nebula::report
