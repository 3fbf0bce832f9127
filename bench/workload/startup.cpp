// What the allocator costs a program that does nothing: this one starts itself hundreds of times, one after the other,
// with an argument that makes it return at once; LD_PRELOAD is inherited. After the shell-script and configure runs in
// which most processes of a build live for a millisecond. An operation is one process.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kProcesses = 400;
constexpr char kReturnAtOnce[] = "--return-at-once";

void start_and_wait() {
  char* const words[] = {const_cast<char*>("startup"), const_cast<char*>(kReturnAtOnce), nullptr};
  pid_t child;
  if (const int error = ::posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, words, environ); error != 0)
    fail("a process could not be started: error %d", error);
  int status = 0;
  if (::waitpid(child, &status, 0) != child || status != 0) fail("a process ended with status %d", status);
}

template <class Calls>
void run(const Options& options, Report& report) {
  const std::size_t processes = options.scaled(kProcesses);
  Calls::release(allocate_marked<Calls>(8, 0));
  report.start_clock();
  for (std::size_t i = 0; i < processes; ++i) start_and_wait();
  report.stop_clock(processes);
}

constexpr Variant kVariants[] = {{"startup", ""}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  if (count == 2 && std::string_view(words[1]) == kReturnAtOnce) return 0;
  return start(count, words,
               {.name = "startup", .variants = kVariants, .plain = run<PlainCalls>, .timed = run<TimedCalls>});
}
