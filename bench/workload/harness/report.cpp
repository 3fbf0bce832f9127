#include "report.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "../../common/memory.hpp"
#include "failure.hpp"
#include "latency.hpp"

namespace workload {
namespace {

std::uint64_t now() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(time.tv_nsec);
}

// The second number of /proc/self/statm, in pages.
std::size_t resident_pages(int statm) {
  char text[128];
  const ssize_t length = ::pread(statm, text, sizeof text - 1, 0);
  if (length <= 0) fail("/proc/self/statm could not be read");
  text[length] = '\0';
  const char* const space = std::strchr(text, ' ');
  std::size_t pages = 0;
  if (!space || std::from_chars(space + 1, text + length, pages).ec != std::errc{})
    fail("/proc/self/statm reads \"%s\"", text);
  return pages;
}

class Line {
 public:
  [[gnu::format(printf, 2, 3)]] void add(const char* format, ...) {
    va_list values;
    va_start(values, format);
    const int written = std::vsnprintf(text_ + length_, sizeof text_ - length_, format, values);
    va_end(values);
    if (written < 0 || static_cast<std::size_t>(written) >= sizeof text_ - length_) fail("the report is too long");
    length_ += static_cast<std::size_t>(written);
  }
  void write() const {
    if (::write(STDOUT_FILENO, text_, length_) != static_cast<ssize_t>(length_))
      fail("the report could not be written");
  }

 private:
  char text_[4096];
  std::size_t length_ = 0;
};

void add_latency(Line& line, const char* name, Call call, double nanoseconds_per_tick) {
  const Histogram all = recorded(call);
  const auto percentile = [&](double share) {
    return static_cast<double>(all.percentile(share)) * nanoseconds_per_tick;
  };
  line.add("\"%s\": {\"p50\": %.1f, \"p99\": %.1f, \"p99.99\": %.1f, \"max\": %.1f}", name, percentile(0.5),
           percentile(0.99), percentile(0.9999), static_cast<double>(all.most()) * nanoseconds_per_tick);
}

}  // namespace

Report::Report() : statm_(::open("/proc/self/statm", O_RDONLY | O_CLOEXEC)) {
  if (statm_ < 0) fail("/proc/self/statm could not be opened");
}

void Report::start_clock() {
  started_at_ = now();
  started_ticks_ = __rdtsc();
}

void Report::stop_clock(std::size_t operations) {
  ticks_ += __rdtsc() - started_ticks_;
  nanoseconds_ += now() - started_at_;
  operations_ += operations;
}

void Report::phase(const char* name) {
  if (phase_count_ == kMostPhases) fail("more phases than there is room for");
  phases_[phase_count_++] = {name, resident_pages(statm_) * bench::kPage};
}

void Report::print(bool latency) const {
  Line line;
  line.add("{\"operations\": %zu, \"seconds\": %.6f, \"phases\": [", operations_, seconds());
  for (std::size_t i = 0; i < phase_count_; ++i)
    line.add("%s{\"name\": \"%s\", \"resident\": %zu}", i == 0 ? "" : ", ", phases_[i].name, phases_[i].resident);
  line.add("]");
  if (latency) {
    const double nanoseconds_per_tick = static_cast<double>(nanoseconds_) / static_cast<double>(ticks_);
    line.add(", \"latency\": {");
    add_latency(line, "malloc", Call::kMalloc, nanoseconds_per_tick);
    line.add(", ");
    add_latency(line, "free", Call::kFree, nanoseconds_per_tick);
    line.add("}");
  }
  line.add("}\n");
  line.write();
}

}  // namespace workload
