#include "report/crash.hpp"

#include <errno.h>

#include <atomic>

#include "diag/message.hpp"
#include "os/process.hpp"
#include "report/report.hpp"
#include "sync/lock.hpp"

namespace nebula::report {
namespace {

constexpr struct {
  int number;
  const char* name;
} kSignals[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGFPE, "SIGFPE"}, {SIGILL, "SIGILL"}, {SIGABRT, "SIGABRT"}};
constexpr unsigned kSignalCount = sizeof kSignals / sizeof kSignals[0];

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr std::size_t kEntryStackBytes = 32 * 1024;  // with room for the registers of any processor
constexpr unsigned kWaitMilliseconds = 2000;

constinit bool is_watching = false;  // set before threads exist
constinit struct sigaction actions_before[kSignalCount] = {};
alignas(64) constinit char entry_stack[kEntryStackBytes];  // of the main thread's handlers, if it has none
alignas(64) constinit char stack[kStackBytes];             // by whoever writes the one report
constinit std::atomic<std::uint32_t> writer{0};            // the token of the thread that does
constinit std::atomic<std::uint32_t> is_written{0};        // a futex
constinit int fatal_signal = -1;                           // its place in kSignals, by the writer
constinit const void* fatal_address = nullptr;             // likewise

void write_report() {
  TextOf<128> line;
  line << "fatal signal " << kSignals[fatal_signal].name;
  if (fatal_address != nullptr) (line << " at address ").address(fatal_address);
  say(Level::kError, line.view());
  write_at_end(Reason::kCrash);
}

// The stack that overflowed, or a small one, is left for a call.
[[gnu::noinline]] void call_on_own_stack(void (*function)()) {
  char* const top = stack + kStackBytes;
  asm volatile(
      "movq %%rsp, %%rbx\n"
      "movq %0, %%rsp\n"
      "call *%1\n"
      "movq %%rbx, %%rsp\n"
      :
      : "r"(top), "r"(function)
      : "rbx", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
        "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
}

void set_default(int number) {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  __sigaction(number, &action, nullptr);
}

void on_crash(int number, siginfo_t* info, void* context) {
  const int kept = errno;
  unsigned place = 0;
  while (place < kSignalCount - 1 && kSignals[place].number != number) ++place;
  std::uint32_t nobody = 0;
  // relaxed: decides who writes; what the report reads is guarded there.
  if (writer.compare_exchange_strong(nobody, thread_token(), std::memory_order_relaxed)) {
    fatal_signal = static_cast<int>(place);
    // An address that the kernel put there, not a process id of a sender.
    fatal_address = info->si_code > 0 && number != SIGABRT ? info->si_addr : nullptr;
    call_on_own_stack(write_report);
    is_written.store(1, std::memory_order_relaxed);
    os::wake_all(is_written);
  } else if (nobody != thread_token()) {
    // Another thread is at it: dying now would cut its report off.
    const std::uint64_t deadline = os::nanoseconds() + std::uint64_t{kWaitMilliseconds} * 1'000'000;
    while (is_written.load(std::memory_order_relaxed) == 0 && os::nanoseconds() < deadline)
      os::wait_while_for(is_written, 0, kWaitMilliseconds);
  }
  errno = kept;
  const struct sigaction& before = actions_before[place];
  if ((before.sa_flags & SA_SIGINFO) != 0) return before.sa_sigaction(number, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(number);
  // A fault comes again when this returns; a signal that somebody sent does not.
  set_default(number);
  if (info->si_code <= 0) os::send_to_this_thread(number);
}

struct sigaction our_action() {
  struct sigaction action = {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  for (const auto& each : kSignals) sigdelset(&action.sa_mask, each.number);  // a fault of the report itself ends the process
  return action;
}

}  // namespace

void report_on_crash() {
  const int kept = errno;
  stack_t now = {};
  if (sigaltstack(nullptr, &now) == 0 && (now.ss_flags & SS_DISABLE) != 0) {
    stack_t mine = {};
    mine.ss_sp = entry_stack;
    mine.ss_size = kEntryStackBytes;
    sigaltstack(&mine, nullptr);
  }
  const struct sigaction action = our_action();
  for (unsigned i = 0; i < kSignalCount; ++i) __sigaction(kSignals[i].number, &action, &actions_before[i]);
  is_watching = true;
  errno = kept;
}

bool watches_crash(int number) {
  if (!is_watching) return false;
  for (const auto& each : kSignals)
    if (each.number == number) return true;
  return false;
}

int change_action(int number, const struct sigaction* action, struct sigaction* old_action, SetAction next) {
  const bool is_default = action != nullptr && (action->sa_flags & SA_SIGINFO) == 0 && action->sa_handler == SIG_DFL;
  const struct sigaction ours = our_action();
  // The caller may pass one place for both.
  struct sigaction old = {};
  const int result = next(number, is_default ? &ours : action, &old);
  if (result == 0 && old_action != nullptr) {
    *old_action = old;
    if (old.sa_sigaction == on_crash) {
      *old_action = {};
      old_action->sa_handler = SIG_DFL;
    }
  }
  return result;
}

}  // namespace nebula::report
