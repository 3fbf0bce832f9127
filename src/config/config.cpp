#include "config/config.hpp"

#include <cstring>

#include "diag/message.hpp"

namespace nebula::config {
namespace {

constexpr std::string_view kPrefix = "NEBULA_";
constexpr std::string_view kLog = "NEBULA_LOG";
constexpr std::string_view kLogStart = "NEBULA_LOG=";
constexpr std::uint64_t kUsefulBudget = 512 * 1024;  // below it, not even libc's start-up fits

bool parse_switch(std::string_view value, bool& result) {
  if (value != "0" && value != "1") return false;
  result = value == "1";
  return true;
}

bool parse_path(std::string_view value, std::string_view& result) {
  if (value.empty() || value.size() > 1000) return false;
  result = value;
  return true;
}

struct Word {
  std::string_view word;
  std::uint8_t bit;
};

// Words with commas between them, each of which is a bit.
bool parse_words(std::string_view value, std::span<const Word> words, std::uint8_t& result) {
  std::uint8_t bits = 0;
  for (bool is_last = false; !is_last;) {
    std::size_t length = 0;
    while (length < value.size() && value[length] != ',') ++length;
    std::uint8_t bit = 0;
    for (const Word& each : words)
      if (each.word == start_of(value, length)) bit = each.bit;
    if (bit == 0) return false;
    bits |= bit;
    is_last = length == value.size();
    value.remove_prefix(is_last ? length : length + 1);
  }
  result = bits;
  return true;
}

bool parse_forms(std::string_view value, std::uint8_t& result) {
  constexpr Word kWords[] = {{"text", Form::kText}, {"json", Form::kJson}, {"prometheus", Form::kPrometheus}, {"html", Form::kHtml}};
  if (value != "0" && value != "off" && value != "1") return parse_words(value, kWords, result);
  result = value == "1" ? std::uint8_t{Form::kText} : std::uint8_t{0};
  return true;
}

bool parse_ends(std::string_view value, std::uint8_t& result) {
  constexpr Word kWords[] = {{"_exit", End::kUnderscoreExit}, {"execve", End::kExecve}};
  return parse_words(value, kWords, result);
}

bool parse_profile_forms(std::string_view value, Config& config) {
  const bool both = value == "pprof,collapsed" || value == "collapsed,pprof";
  if (!both && value != "pprof" && value != "collapsed") return false;
  config.profile_pprof = value != "collapsed";
  config.profile_collapsed = value != "pprof";
  return true;
}

// A size above 0, for a limit or a period.
bool parse_positive_size(std::string_view value, std::uint64_t& result) {
  std::uint64_t size = 0;
  if (!parse_size(value, size) || size == 0) return false;
  result = size;
  return true;
}

constexpr const char* kSwitchForm = "0 or 1";
constexpr const char* kLimitForm =
    "a size above 0 (4194304, 64M, 1.5GiB), a share of the control group or machine (75%, 100%-256M), auto (90%)";
constexpr const char* kNumaForm =
    "local, interleave[:NODES], preferred:NODE, bind:NODES or off; or small=RULE,large=RULE; NODES: 0-2,8";
constexpr const char* kRouteForm =
    "pool, bump, auto, or up to 8 of FIRST-LAST:ROUTE, no two overlapping: 16-1024:pool,1025-32768:bump,32769-:node; pool and bump hold "
    "up to 32768 bytes";
constexpr const char* kPathForm = "a path of 1 to 1,000 bytes; %p pid, %e program, %n sequence number";

using Kind = Option::Kind;

constexpr Option kOptions[] = {
    {"NEBULA_STATS", "off, or one or several of text, json, prometheus, html (text,json); 1 is text, 0 is off", "off",
     "Write a report when the program exits, in these forms.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_forms(v, c.stats); }},
    {"NEBULA_STATS_FILE", "a path of 1 to 1,000 bytes; %p pid, %e program, %n sequence number, %t time",
     "text: standard error; others: nebula.%e.%p.json, .prom, .html",
     "Where the report goes; of several forms each to this name and .txt, .json, .prom, .html.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_path(v, c.stats_file); }},
    {"NEBULA_STATS_INTERVAL", "a time: 500ms, 10s", "none",
     "Write a line of JSON every so often, to NEBULA_STATS_FILE or nebula.%e.%p.jsonl.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_milliseconds(v, c.stats_interval_milliseconds); }},
    {"NEBULA_STATS_ROTATE", "a size: 16M, 1G", "16M", "At this size the file of lines is renamed to .1 and begun again.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_size(v, c.stats_rotate); }},
    {"NEBULA_STATS_SIGNAL", "a signal such as USR2 or RTMIN+3", "none", "Write a report each time the process gets it.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_signal(v, c.stats_signal); }},
    {"NEBULA_STATS_ON_CRASH", kSwitchForm, "0", "Write a report when a fatal signal or abort ends the program.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_switch(v, c.stats_on_crash); }},
    {"NEBULA_STATS_ON_BUDGET", kSwitchForm, "0", "Write a report when a limit is first reached, and when it first refuses.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_switch(v, c.stats_on_budget); }},
    {"NEBULA_STATS_BEFORE", "_exit, execve or both: _exit,execve", "none",
     "Write a report before these, too; before _exit also what NEBULA_LEAKS and NEBULA_PROFILE write at the exit.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_ends(v, c.stats_before); }},
    {"NEBULA_BUDGET", kLimitForm, "none", "Hard limit on committed memory: at it, reclaim, then refuse.", Kind::kLimit,
     [](std::string_view v, Config& c) { return parse_limit(v, c.budget); }},
    {"NEBULA_BUDGET_SOFT", kLimitForm, "none", "Soft limit: above it, reclaim within a work cap; warn once.",
     Kind::kLimit, [](std::string_view v, Config& c) { return parse_limit(v, c.budget_soft); }},
    {"NEBULA_BUDGET_TREE", kLimitForm, "none",
     "Hard limit on the sum of this process and all it starts that carry the preload.", Kind::kLimit,
     [](std::string_view v, Config& c) { return parse_limit(v, c.budget_tree); }},
    {"NEBULA_TREE", "a path of 1 to 63 bytes", "none", "Set by Nebula itself: where the account of the tree is.", Kind::kSetting,
     [](std::string_view v, Config& c) { return v.size() < 64 && parse_path(v, c.tree); }},
    {"NEBULA_BUDGET_SIZE", "up to 8 of FIRST-LAST:SIZE, no two overlapping: 1M-:256M,4096-8191:64M", "none",
     "Hard limits on objects by size: of slots, and of large objects in whole pages.", Kind::kLimit,
     [](std::string_view v, Config& c) { return parse_size_limits(v, c.size_limits, c.size_limit_count); }},
    {"NEBULA_BUDGET_NODE", "up to 16 of NODE:SIZE: 0:1G,1:512M", "none",
     "Hard limits on memory by NUMA node: over one, it comes from the nearest other that NEBULA_NUMA allows.", Kind::kLimit,
     [](std::string_view v, Config& c) { return parse_node_limits(v, c.node_limits, c.node_limit_count); }},
    {"NEBULA_BUDGET_THREAD", "a SIZE for each thread, or up to 8 of NAME:SIZE, * and ? in the name: worker-*:64M,main:1G", "none",
     "Hard limit on what each thread, or each of that name, has allocated, until it is freed.", Kind::kLimit,
     [](std::string_view v, Config& c) { return parse_thread_limits(v, c.thread_limits, c.thread_limit_count); }},
    {"NEBULA_BUDGET_MODULE", "up to 8 of FILE:SIZE, * and ? in the file's name: libfoo.so:128M", "none",
     "Hard limit on what calls from a library, or the program, have allocated, until it is freed.", Kind::kLimit,
     [](std::string_view v, Config& c) { return parse_module_limits(v, c.module_limits, c.module_limit_count); }},
    {"NEBULA_BUDGET_ACTION", "fail, abort, kill, warn or wait:TIME (100ms, 2s), also by account: fail,tree=kill,size=warn", "fail",
     "At a hard limit: fail the request (ENOMEM, bad_alloc), report and die, go on, or wait first.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_actions(v, c.at_limit); }},
    {"NEBULA_BUDGET_RESERVE", "a size: 64K, 0", "64K",
     "The last part of NEBULA_BUDGET, at most an eighth of it, for requests up to 1 KiB.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_size(v, c.reserve_bytes); }},
    {"NEBULA_BUDGET_WORK", "1% to 100%", "25%", "The share of time that reclaiming for the soft limit may take.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_percent(v, c.reclaim_percent); }},
    {"NEBULA_BUDGET_SIGNAL", "a signal such as USR1 or RTMIN+3", "none",
     "Sent to the process, if it handles it, when a limit is reached.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_signal(v, c.budget_signal); }},
    {"NEBULA_BUDGET_EVENTS", "a path of 1 to 1,000 bytes; %p pid, %e program", "none",
     "A file to which a line of JSON is added each time a limit is reached.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_path(v, c.budget_events); }},
    {"NEBULA_PRESSURE", "psi, cgroup or off", "off",
     "Give free memory back sooner while the machine, or the control group, is short of it.", Kind::kSetting,
     [](std::string_view v, Config& c) {
       if (v != "psi" && v != "cgroup" && v != "off") return false;
       c.pressure = v == "psi" ? Pressure::kMachine : v == "cgroup" ? Pressure::kControlGroup : Pressure::kOff;
       return true;
     }},
    {"NEBULA_PURGE", "delay:TIME (delay:500ms, delay:10s), never or now", "after 1s, but for 4 MiB or an eighth of what is in use",
     "When free memory goes back to the system: idle so long, only for a limit or on request, or at once.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_purge(v, c.pages); }},
    {"NEBULA_PURGE_KIND", "dontneed, free, cold or pageout", "dontneed",
     "How idle memory goes back: dropped at once, when the system needs it (free), before other memory (cold), or swapped out now.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_purge_kind(v, c.pages); }},
    {"NEBULA_RESERVE", "a size: 512M; 512M:strict to end where not all of it is to be had", "0",
     "Memory to have resident from the start, which idling does not take back.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_reserve(v, c.pages); }},
    {"NEBULA_HUGETLB", kSwitchForm, "0", "Grow out of the pool of huge pages of 2 MiB (vm.nr_hugepages) while it has some.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_switch(v, c.pages.uses_huge_tlb); }},
    {"NEBULA_LOCK", kSwitchForm, "0", "Keep in memory what was touched: lock all that is mapped, as far as the system allows.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_switch(v, c.pages.locks); }},
    {"NEBULA_THP", "auto, always or never", "auto",
     "Where huge pages are asked for: in large heaps, filled densely, and well below a budget; in all; or nowhere.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_huge_pages(v, c.pages); }},
    {"NEBULA_ON_MISUSE", "abort or warn", "abort",
     "On a double or invalid free: say so and abort, or say so and ignore it.", Kind::kSetting,
     [](std::string_view v, Config& c) {
       if (v != "abort" && v != "warn") return false;
       c.on_misuse = v == "warn" ? MisuseAction::kWarn : MisuseAction::kAbort;
       return true;
     }},
    {"NEBULA_LIVE", kSwitchForm, "0", "Show the process to `nebula top`, by a page in $XDG_RUNTIME_DIR or /tmp.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_switch(v, c.live); }},
    {"NEBULA_BANNER", kSwitchForm, "0", "Say in one line at the start that Nebula is there, with what options.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_switch(v, c.banner); }},
    {"NEBULA_LOG", "error, warning, info or debug; with a file, debug:PATH; %p pid, %e program, %n generation of forks, %t time", "warning",
     "What is told, on standard error or, line by line, at the end of a file.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_log(v, c.log); }},
    {"NEBULA_NUMA", kNumaForm, "local", "Which NUMA nodes memory comes from, where there are several.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_numa(v, c.numa); }},
    {"NEBULA_ROUTE", kRouteForm, "pool", "Which way objects of a size come: pools, a thread's bump blocks, the node heap.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_routes(v, c.routes); }},
    {"NEBULA_ROUTE_BUMP_LIMIT", "a size: 256M, 0", "256M", "When bump blocks take as much, new requests go to pools.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_size(v, c.bump_limit); }},
    {"NEBULA_PROFILE", "0 or a size, the mean bytes between samples: 512K", "0",
     "Take a heap profile, written at the exit and whenever a report is asked for by signal or interval.", Kind::kSetting,
     [](std::string_view v, Config& c) { return v == "0" || parse_positive_size(v, c.profile_period); }},
    {"NEBULA_PROFILE_FILE", kPathForm, "nebula.%e.%p.pb.gz", "Where the profile goes; before the last one, without %n, with a number: .1.pb.gz, .2.pb.gz.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_path(v, c.profile_file); }},
    {"NEBULA_PROFILE_FORM", "pprof, collapsed, or both with a comma", "pprof",
     "pprof's file, or collapsed stacks beside it (.live.collapsed, .all.collapsed).", Kind::kSetting,
     parse_profile_forms},
    {"NEBULA_LEAKS", kSwitchForm, "0", "Say at the exit what is still allocated, and where it came from.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_switch(v, c.leaks); }},
    {"NEBULA_ABORT_CONF", kSwitchForm, "1", "Exit with status 78 before main when a limit cannot be understood.",
     Kind::kSetting, [](std::string_view v, Config& c) { return parse_switch(v, c.abort_on_bad_limit); }},
    {"NEBULA_HELP", kSwitchForm, "0", "Print this list, then run the program.", Kind::kSetting,
     [](std::string_view v, Config& c) { return parse_switch(v, c.help); }},
};
constexpr std::size_t kOptionCount = sizeof kOptions / sizeof kOptions[0];

// Copies of the values, so that they outlive the environment.
constinit char value_room[4096];
constinit std::size_t value_room_used = 0;
constinit std::string_view written[kOptionCount];

bool keep(std::string_view& value) {
  if (value.size() > sizeof value_room - value_room_used) return false;
  char* const place = value_room + value_room_used;
  std::memcpy(place, value.data(), value.size());
  value_room_used += value.size();
  value = {place, value.size()};
  return true;
}

// Damerau–Levenshtein distance in its restricted form (Damerau 1964): a swap of neighbours counts one.
unsigned distance(std::string_view a, std::string_view b) {
  constexpr std::size_t kLongest = 40;
  if (a.size() > kLongest || b.size() > kLongest) return kLongest;
  unsigned before[kLongest + 1] = {};
  unsigned last[kLongest + 1];
  unsigned now[kLongest + 1];
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<unsigned>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = static_cast<unsigned>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const unsigned change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      unsigned best = change;
      if (last[j] + 1 < best) best = last[j] + 1;
      if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped && before[j - 2] + 1 < best) best = before[j - 2] + 1;
      now[j] = best;
    }
    std::memcpy(before, last, sizeof before);
    std::memcpy(last, now, sizeof last);
  }
  return last[b.size()];
}

bool is_useless(const Limit& limit) { return limit.percent == 0 && limit.bytes < kUsefulBudget; }

void say_unknown(std::string_view name) {
  const Option* const meant = nearest(name);
  TextOf<512> line;
  line << start_of(name, 100) << " is not a variable of Nebula";
  if (meant != nullptr) line << "; did you mean " << meant->name << '?';
  line << " (NEBULA_HELP=1 lists them)";
  say(line.view());
}

void say_malformed(const Option& option, std::string_view value, const Config& config) {
  TextOf<512> line;
  line << option.name << '=' << start_of(value, 100) << " is not understood; accepted: " << option.form;
  const bool ends = option.kind == Kind::kLimit && config.abort_on_bad_limit;
  if (option.kind == Kind::kSetting) line << "; using the default, " << option.default_value;
  else if (ends) line << "; not running without the limit (NEBULA_ABORT_CONF=0 would)";
  else line << "; running without the limit";
  say(ends ? Level::kError : Level::kWarning, line.view());
}

Outcome read_one(std::string_view name, std::string_view value, Config& config) {
  for (std::size_t i = 0; i < kOptionCount; ++i) {
    const Option& option = kOptions[i];
    if (name != option.name) continue;
    if (keep(value) && option.parse(value, config)) {
      written[i] = value;
      return Outcome::kGood;
    }
    say_malformed(option, value, config);
    return option.kind == Kind::kLimit ? Outcome::kBadLimit : Outcome::kGood;
  }
  say_unknown(name);
  return Outcome::kGood;
}

}  // namespace

std::span<const Option> options() { return kOptions; }

std::string_view written_value(std::size_t index) { return written[index]; }

void append_written(Text& text) {
  bool any = false;
  for (std::size_t i = 0; i < kOptionCount; ++i) {
    if (written[i].empty()) continue;
    text << ' ' << kOptions[i].name << '=' << start_of(written[i], 200);
    any = true;
  }
  if (!any) text << " all default";
}

const Option* nearest(std::string_view name) {
  constexpr unsigned kNear = 4;
  const Option* found = nullptr;
  unsigned found_distance = kNear;
  for (const Option& option : kOptions) {
    const unsigned d = distance(name, option.name);
    if (d >= found_distance) continue;
    found = &option;
    found_distance = d;
  }
  return found;
}

Outcome read(const char* const* environment, Config& config) {
  Outcome outcome = Outcome::kGood;
  // First what decides about the others, wherever it stands.
  for (const char* const* entry = environment; entry != nullptr && *entry != nullptr; ++entry) {
    if (std::strcmp(*entry, "NEBULA_ABORT_CONF=0") == 0) config.abort_on_bad_limit = false;
    if (std::strncmp(*entry, kLogStart.data(), kLogStart.size()) != 0) continue;
    read_one(kLog, *entry + kLogStart.size(), config);
    if (config.log.least != Level::kWarning || !config.log.file.empty()) begin_log(config.log);
  }
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    if (std::strncmp(*environment, kPrefix.data(), kPrefix.size()) != 0) continue;
    const char* const equals = std::strchr(*environment, '=');
    if (equals == nullptr) continue;
    const std::string_view name(*environment, static_cast<std::size_t>(equals - *environment));
    if (name == kLog) continue;
    if (read_one(name, equals + 1, config) == Outcome::kBadLimit) outcome = Outcome::kBadLimit;
  }
  if (is_useless(config.budget) || is_useless(config.budget_soft) || is_useless(config.budget_tree))
    say("a budget below 512K leaves hardly a program room to start");
  return outcome;
}

void print_help() {
  write_to_standard_error("Nebula's environment variables:\n");
  for (const Option& option : kOptions) {
    TextOf<512> text;  // one at a time: no frame here is above a page
    text << "  ";
    text.left(option.name, 24) << option.description << '\n';
    text.left("", 24) << "accepted: " << option.form << "   default: " << option.default_value << '\n';
    write_to_standard_error(text.view());
  }
}

bool parse_size(std::string_view text, std::uint64_t& result) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 63;
  constexpr unsigned kFractionDigits = 6;  // 10^6 × 2^40 fits 64 bits
  std::size_t at = 0;
  const auto is_digit = [&] { return at < text.size() && text[at] >= '0' && text[at] <= '9'; };

  std::uint64_t whole = 0;
  const std::size_t whole_start = at;
  for (; is_digit(); ++at) {
    const auto digit = static_cast<std::uint64_t>(text[at] - '0');
    if (whole > (kMost - digit) / 10) return false;
    whole = whole * 10 + digit;
  }
  if (at == whole_start) return false;

  std::uint64_t fraction = 0;
  std::uint64_t fraction_scale = 1;
  if (at < text.size() && text[at] == '.') {
    const std::size_t fraction_start = ++at;
    for (; is_digit(); ++at) {
      if (at - fraction_start >= kFractionDigits) return false;
      fraction = fraction * 10 + static_cast<std::uint64_t>(text[at] - '0');
      fraction_scale *= 10;
    }
    if (at == fraction_start) return false;
  }

  unsigned shift = 0;
  if (at < text.size()) {
    switch (text[at] | 0x20) {  // to lower case
      case 'k': shift = 10; break;
      case 'm': shift = 20; break;
      case 'g': shift = 30; break;
      case 't': shift = 40; break;
      default: return false;
    }
    ++at;
    if (at < text.size() && (text[at] | 0x20) == 'i') ++at;
    if (at < text.size() && (text[at] | 0x20) == 'b') ++at;
  }
  if (at != text.size()) return false;
  if (whole > kMost >> shift) return false;
  const std::uint64_t size = (whole << shift) + (fraction << shift) / fraction_scale;
  if (size > kMost) return false;
  result = size;
  return true;
}

namespace {

// Takes `word` off the front of `text` if it is there.
bool take_word(std::string_view& text, std::string_view word) {
  if (start_of(text, word.size()) != word) return false;
  text.remove_prefix(word.size());
  return true;
}

bool take_node(std::string_view& text, unsigned& node) {
  std::size_t digits = 0;
  node = 0;
  for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits) {
    node = node * 10 + static_cast<unsigned>(text[digits] - '0');
    if (node >= NodeSet::kEnd) return false;
  }
  text.remove_prefix(digits);
  return digits != 0;
}

// Numbers and ranges of them; a comma that no digit follows is not of the list.
bool take_nodes(std::string_view& text, NodeSet& nodes) {
  for (;;) {
    unsigned first = 0;
    if (!take_node(text, first)) return false;
    unsigned last = first;
    if (take_word(text, "-") && (!take_node(text, last) || last < first)) return false;
    for (unsigned node = first; node <= last; ++node) nodes.add(node);
    if (text.size() < 2 || text[0] != ',' || text[1] < '0' || text[1] > '9') return true;
    text.remove_prefix(1);
  }
}

bool take_rule(std::string_view& text, NumaRule& rule) {
  using Mode = NumaRule::Mode;
  rule = {};
  if (take_word(text, "local")) return true;
  if (take_word(text, "off")) {
    rule.mode = Mode::kOff;
    return true;
  }
  if (take_word(text, "interleave")) {
    rule.mode = Mode::kInterleave;
    return !take_word(text, ":") || take_nodes(text, rule.nodes);
  }
  if (take_word(text, "preferred:")) {
    rule.mode = Mode::kPreferred;
    return take_nodes(text, rule.nodes) && rule.nodes.count() == 1;
  }
  rule.mode = Mode::kBind;
  return take_word(text, "bind:") && take_nodes(text, rule.nodes);
}

}  // namespace

bool parse_numa(std::string_view text, NumaRules& rules) {
  NumaRules read;
  read.is_given = true;
  if (start_of(text, 6) != "small=" && start_of(text, 6) != "large=") {
    if (!take_rule(text, read.small_objects) || !text.empty()) return false;
    read.large_objects = read.small_objects;
    rules = read;
    return true;
  }
  bool has_small = false;
  bool has_large = false;
  for (;;) {
    const bool is_small = take_word(text, "small=");
    if (!is_small && !take_word(text, "large=")) return false;
    bool& has = is_small ? has_small : has_large;
    if (has || !take_rule(text, is_small ? read.small_objects : read.large_objects)) return false;
    has = true;
    if (text.empty()) break;
    if (!take_word(text, ",")) return false;
  }
  rules = read;
  return true;
}

void expand_path(std::string_view pattern, const Names& names, Text& result) {
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      result << pattern[i];
      continue;
    }
    switch (pattern[++i]) {
      case 'p': result.plain(static_cast<std::uint64_t>(names.process_id)); break;
      case 'e': result << names.program; break;
      case 'n': result.plain(names.sequence); break;
      case 't': result.date_and_time(names.seconds); break;
      case '%': result << '%'; break;
      default: result << '%' << pattern[i]; break;
    }
  }
}

}  // namespace nebula::config
