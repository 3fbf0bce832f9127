// The forms that limits and what happens at them are written in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace nebula::config {

// A limit as it was asked for: so many bytes, or a share of what control groups or the machine allow, less some bytes.
struct Limit {
  std::uint32_t percent = 0;                  // of what is allowed; 0: none, `bytes` is the limit itself
  std::uint64_t bytes = ~std::uint64_t{0};    // the limit (all ones: none), or what is taken off the share
  [[nodiscard]] bool is_set() const { return percent != 0 || bytes != ~std::uint64_t{0}; }
};

// What can have a limit. The order is that of the report.
enum class AccountKind : std::uint8_t { kProcess, kTree, kNode, kThread, kSize, kModule, kEnd };
inline constexpr std::size_t kAccountKinds = static_cast<std::size_t>(AccountKind::kEnd);
[[nodiscard]] const char* name_of(AccountKind kind);

// What happens to a request that a hard limit leaves no room for.
enum class BudgetAction : std::uint8_t {
  kFail,   // null and ENOMEM
  kAbort,  // the report, then abort
  kKill,   // the report, then SIGKILL: no handler of the program runs
  kWait,   // wait for memory that other threads free; then fail
  kWarn,   // said once and counted; the request is served
};
struct AtLimit {
  BudgetAction action = BudgetAction::kFail;
  std::uint32_t wait_milliseconds = 0;
};

// Slots and large objects of first to last bytes.
struct SizeLimit {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t bytes = 0;
};
inline constexpr std::size_t kSizeLimitsMost = 8;

// Memory of a NUMA node.
struct NodeLimit {
  unsigned node = 0;
  std::uint64_t bytes = 0;
};
inline constexpr std::size_t kNodeLimitsMost = 16;

// What is allocated by threads, or modules, that are named so: a pattern with * and ?.
struct NamedLimit {
  std::string_view name;
  std::uint64_t bytes = 0;
};
inline constexpr std::size_t kNamedLimitsMost = 8;

enum class Pressure : std::uint8_t { kOff, kMachine, kControlGroup };

// All of these: false for what is not of the form, the result unchanged then.

// A size above 0, "75%", "100%-256M", or "auto", which is 90 %.
[[nodiscard]] bool parse_limit(std::string_view text, Limit& result);
// "fail", "wait:100ms", or by account: "fail,tree=kill,thread=wait:2s". `result` has kAccountKinds elements.
[[nodiscard]] bool parse_actions(std::string_view text, AtLimit* result);
// "1M-:256M,4096-8191:64M": ranges of sizes that do not overlap, each with its limit. `result` has room for kSizeLimitsMost.
[[nodiscard]] bool parse_size_limits(std::string_view text, SizeLimit* result, std::size_t& count);
// "0:1G,1:512M": node numbers, each once. Room for kNodeLimitsMost.
[[nodiscard]] bool parse_node_limits(std::string_view text, NodeLimit* result, std::size_t& count);
// "worker-*:64M,main:1G,16M": patterns, and a size for all others, which comes last in `result`. Room for kNamedLimitsMost.
[[nodiscard]] bool parse_thread_limits(std::string_view text, NamedLimit* result, std::size_t& count);
// "libfoo.so:128M": file names without folders. The same.
[[nodiscard]] bool parse_module_limits(std::string_view text, NamedLimit* result, std::size_t& count);
// "25%": 1 to 100.
[[nodiscard]] bool parse_percent(std::string_view text, std::uint32_t& result);
// "USR1", "SIGUSR1", "RTMIN+3": a signal whose handling a program may choose.
[[nodiscard]] bool parse_signal(std::string_view text, int& result);
// "100ms", "2s": above 0, up to an hour.
[[nodiscard]] bool parse_milliseconds(std::string_view text, std::uint32_t& result);

}  // namespace nebula::config
