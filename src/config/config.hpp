// What the environment asks for. One table (config.cpp) has each variable's name, accepted form, default and
// description; parsing, NEBULA_HELP=1, the error messages and the test of README.md's table all read it.
//
// Read once, before main, by one thread. Values are copied: a program may overwrite its environment later (it does
// when it sets its process title).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/start_data.hpp"
#include "config/budgets.hpp"
#include "config/log.hpp"
#include "config/page_policy.hpp"
#include "config/routes.hpp"
#include "diag/text.hpp"
#include "topology/numa_rules.hpp"

namespace nebula::config {

enum class MisuseAction : std::uint8_t { kAbort, kWarn };

// The ends of a process that no destructor sees, as bits.
enum End : std::uint8_t { kUnderscoreExit = 1, kExecve = 2 };

// The forms of a report, as bits.
enum Form : std::uint8_t { kText = 1, kJson = 2, kPrometheus = 4, kHtml = 8 };

struct Config {
  std::uint8_t stats = 0;       // forms
  std::string_view stats_file;  // empty: the default of the form
  std::uint32_t stats_interval_milliseconds = 0;  // 0: none
  std::uint64_t stats_rotate = std::uint64_t{16} << 20;
  int stats_signal = 0;  // none
  bool stats_on_crash = false;
  bool stats_on_budget = false;
  std::uint8_t stats_before = 0;  // ends
  Limit budget;
  Limit budget_soft;
  Limit budget_tree;
  std::string_view tree;  // the file that an ancestor made
  SizeLimit size_limits[kSizeLimitsMost];
  std::size_t size_limit_count = 0;
  NodeLimit node_limits[kNodeLimitsMost];
  std::size_t node_limit_count = 0;
  NamedLimit thread_limits[kNamedLimitsMost];
  std::size_t thread_limit_count = 0;
  NamedLimit module_limits[kNamedLimitsMost];
  std::size_t module_limit_count = 0;
  AtLimit at_limit[kAccountKinds];
  std::uint64_t reserve_bytes = std::uint64_t{64} << 10;
  std::uint32_t reclaim_percent = 25;  // of the time of the thread that reclaims
  int budget_signal = 0;               // none
  std::string_view budget_events;      // empty: none
  Pressure pressure = Pressure::kOff;
  MisuseAction on_misuse = MisuseAction::kAbort;
  bool live = false;
  bool banner = false;
  std::uint64_t profile_period = 0;  // bytes between samples; 0: no profile
  std::string_view profile_file = "nebula.%e.%p.pb.gz";
  bool profile_pprof = true;
  bool profile_collapsed = false;
  bool leaks = false;
  bool abort_on_bad_limit = true;
  bool help = false;
  NumaRules numa;
  Routes routes;
  PagePolicy pages;
  Log log;
  std::uint64_t bump_limit = std::uint64_t{256} << 20;
};

struct Option {
  const char* name;
  const char* form;           // what is accepted
  const char* default_value;  // as a person would write it
  const char* description;    // one line
  enum class Kind : std::uint8_t { kSetting, kLimit } kind;  // a limit that cannot be read stops the program
  bool (*parse)(std::string_view value, Config& config);     // false: not of that form, config unchanged
};

[[nodiscard]] std::span<const Option> options();

enum class Outcome { kGood, kBadLimit };
// Reads NEBULA_* from a null-terminated list of NAME=value; says on standard error what it does not understand.
[[nodiscard]] NEBULA_START_CODE Outcome read(const char* const* environment, Config& config);

// The accepted value of options()[index] as it was written, empty where it was not set.
[[nodiscard]] std::string_view written_value(std::size_t index);

// " NAME=value" for each option that was set, or " all default".
void append_written(Text& text);

// The option with the name most like this one; null when none is.
[[nodiscard]] const Option* nearest(std::string_view name);

void print_help();

// 4096, 64K, 512M, 2G, 1.5GiB: a number, decimal point allowed, and K, M, G or T (powers of 1,024; "B", "i" or "iB" may
// follow, either case). False for anything else, negative or above 2^63: result unchanged.
[[nodiscard]] bool parse_size(std::string_view text, std::uint64_t& result);

// local, interleave[:NODES], preferred:NODE, bind:NODES or off; or small=… and large=… of these, by a comma apart. NODES
// are numbers and ranges of them, 0-2,8. False for anything else: rules unchanged.
[[nodiscard]] bool parse_numa(std::string_view text, NumaRules& rules);

// What the signs in the name of a file stand for.
struct Names {
  int process_id;
  std::string_view program;
  std::uint64_t sequence;
  std::uint64_t seconds;  // since 1970, UTC
};
// `pattern` with %p (process id), %e (program name), %n (sequence number), %t (time, as 20261125T093500Z) and %% replaced.
void expand_path(std::string_view pattern, const Names& names, Text& result);

}  // namespace nebula::config
