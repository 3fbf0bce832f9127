#include "config/config.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "diag/message.hpp"

namespace nebula::config {
namespace {

// Reads a configuration as the library does, and what it says on standard error meanwhile.
struct Reading {
  Config config;
  Outcome outcome = Outcome::kGood;
  std::string said;

  explicit Reading(std::vector<const char*> environment) {
    environment.push_back(nullptr);
    std::FILE* const words = std::tmpfile();
    const int kept = dup(2);
    dup2(fileno(words), 2);
    remember_standard_error();
    outcome = read(environment.data(), config);
    dup2(kept, 2);
    close(kept);
    remember_standard_error();
    std::rewind(words);
    for (int letter = std::fgetc(words); letter != EOF; letter = std::fgetc(words))
      said += static_cast<char>(letter);
    std::fclose(words);
  }
};

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

TEST(Config, SizesOfEveryForm) {
  const struct {
    const char* text;
    std::uint64_t bytes;
  } cases[] = {
      {"0", 0}, {"4096", 4096}, {"64K", 64 << 10}, {"64k", 64 << 10}, {"64KB", 64 << 10}, {"64KiB", 64 << 10},
      {"64kib", 64 << 10}, {"512M", 512ull << 20}, {"2G", 2ull << 30}, {"1.5GiB", 3ull << 29}, {"1T", 1ull << 40},
      {"0.5K", 512}, {"1.25M", 5ull << 18}, {"9223372036854775808", 1ull << 63}, {"8388608T", 1ull << 63},
  };
  for (const auto& each : cases) {
    std::uint64_t bytes = 77;
    EXPECT_TRUE(parse_size(each.text, bytes)) << each.text;
    EXPECT_EQ(bytes, each.bytes) << each.text;
  }
}

TEST(Config, SizesThatAreNone) {
  for (const char* text : {"", " ", "-1", "+1", "K", ".5K", "1.", "1.K", "1x", "1KK", "1Ki B", "1 K", " 1", "1 ", "0x10",
                           "9223372036854775809", "8388609T", "99999999999999999999999", "1.0000001M", "1,5G", "infinity",
                           "1P", "1KiBx", "1.2.3M", "8388608.5T"}) {
    std::uint64_t bytes = 77;
    EXPECT_FALSE(parse_size(text, bytes)) << '"' << text << "\" gave " << bytes;
    EXPECT_EQ(bytes, 77u) << text;
  }
}

TEST(Config, DefaultsWithoutVariables) {
  const Reading reading({"HOME=/", "NEBULAR=1"});
  EXPECT_EQ(reading.outcome, Outcome::kGood);
  EXPECT_EQ(reading.said, "");
  EXPECT_EQ(reading.config.stats, 0);
  EXPECT_FALSE(reading.config.budget.is_set());
}

TEST(Config, EachVariableIsRead) {
  const Reading reading({"NEBULA_STATS=1", "NEBULA_STATS_FILE=/tmp/r.%p", "NEBULA_BUDGET=64M", "NEBULA_BUDGET_SOFT=1.5M",
                         "NEBULA_BUDGET_ACTION=abort", "NEBULA_ON_MISUSE=warn", "NEBULA_ABORT_CONF=0"});
  EXPECT_EQ(reading.outcome, Outcome::kGood);
  EXPECT_EQ(reading.said, "");
  EXPECT_EQ(reading.config.stats, Form::kText);
  EXPECT_EQ(reading.config.stats_file, "/tmp/r.%p");
  EXPECT_EQ(reading.config.budget.bytes, 64u << 20);
  EXPECT_EQ(reading.config.budget_soft.bytes, 3u << 19);
  for (const AtLimit& at_limit : reading.config.at_limit) EXPECT_EQ(at_limit.action, BudgetAction::kAbort);
  EXPECT_EQ(reading.config.on_misuse, MisuseAction::kWarn);
  EXPECT_FALSE(reading.config.abort_on_bad_limit);
}

TEST(Config, ValuesOutliveTheEnvironment) {
  char entry[] = "NEBULA_STATS_FILE=/tmp/here";
  const Reading reading({entry});
  for (char& letter : entry) letter = 'x';
  EXPECT_EQ(reading.config.stats_file, "/tmp/here");
}

TEST(Config, ABadLimitIsAnOutcomeABadSettingIsNot) {
  const Reading limit({"NEBULA_BUDGET=lots"});
  EXPECT_EQ(limit.outcome, Outcome::kBadLimit);
  EXPECT_TRUE(has(limit.said, "NEBULA_BUDGET=lots is not understood")) << limit.said;
  EXPECT_FALSE(limit.config.budget.is_set());

  const Reading nothing({"NEBULA_BUDGET_SOFT=0"});
  EXPECT_EQ(nothing.outcome, Outcome::kBadLimit);

  const Reading small({"NEBULA_BUDGET_SOFT=4K"});
  EXPECT_EQ(small.outcome, Outcome::kGood);
  EXPECT_EQ(small.config.budget_soft.bytes, 4096u);
  EXPECT_TRUE(has(small.said, "below 512K")) << small.said;

  const Reading setting({"NEBULA_STATS=yes", "NEBULA_ON_MISUSE=", "NEBULA_STATS_FILE="});
  EXPECT_EQ(setting.outcome, Outcome::kGood);
  EXPECT_TRUE(has(setting.said, "NEBULA_STATS=yes is not understood")) << setting.said;
  EXPECT_EQ(setting.config.stats, 0);
}

TEST(Config, UnknownNamesGetASuggestionWhenOneIsNear) {
  const struct {
    const char* entry;
    const char* suggestion;
  } cases[] = {
      {"NEBULA_BUGDET=1M", "did you mean NEBULA_BUDGET?"},  // a swap of neighbours counts one
      {"NEBULA_STAT=1", "did you mean NEBULA_STATS?"},
      {"NEBULA_STATFILE=x", "did you mean NEBULA_STATS_FILE?"},
      {"NEBULA_BUDGETSOFT=1M", "did you mean NEBULA_BUDGET_SOFT?"},
      {"NEBULA_ONMISUSE=warn", "did you mean NEBULA_ON_MISUSE?"},
  };
  for (const auto& each : cases) {
    const Reading reading({each.entry});
    EXPECT_EQ(reading.outcome, Outcome::kGood);
    EXPECT_TRUE(has(reading.said, each.suggestion)) << each.entry << ": " << reading.said;
  }
  const Reading far({"NEBULA_QUANTUM_ENTANGLEMENT=1"});
  EXPECT_TRUE(has(far.said, "is not a variable of Nebula")) << far.said;
  EXPECT_FALSE(has(far.said, "did you mean")) << far.said;
  const std::string huge = "NEBULA_" + std::string(5000, 'X') + "=1";
  EXPECT_TRUE(has(Reading({huge.c_str()}).said, "is not a variable of Nebula"));
}

TEST(Config, LimitsOfEveryForm) {
  const struct {
    const char* text;
    std::uint32_t percent;
    std::uint64_t bytes;
  } cases[] = {{"64M", 0, 64u << 20}, {"75%", 75, 0}, {"100%-256M", 100, 256u << 20}, {"auto", 90, 0}, {"1%", 1, 0}};
  for (const auto& each : cases) {
    Limit limit;
    EXPECT_TRUE(parse_limit(each.text, limit)) << each.text;
    EXPECT_EQ(limit.percent, each.percent) << each.text;
    EXPECT_EQ(limit.bytes, each.bytes) << each.text;
    EXPECT_TRUE(limit.is_set()) << each.text;
  }
  for (const char* text : {"", "0", "0%", "101%", "%", "75%-", "75%-0", "75%+1M", "7.5%", "75%%", "auto-1M", "-1%", "75 %",
                           "1000000000%", "75%-256Q"}) {
    Limit limit;
    EXPECT_FALSE(parse_limit(text, limit)) << text;
    EXPECT_FALSE(limit.is_set()) << text;
  }
}

TEST(Config, ActionsForAllAndByAccount) {
  AtLimit actions[kAccountKinds];
  ASSERT_TRUE(parse_actions("kill", actions));
  for (const AtLimit& each : actions) EXPECT_EQ(each.action, BudgetAction::kKill);
  ASSERT_TRUE(parse_actions("tree=wait:2s,warn,size=abort", actions));
  for (std::size_t i = 0; i < kAccountKinds; ++i) {
    const auto kind = static_cast<AccountKind>(i);
    const BudgetAction expected = kind == AccountKind::kTree   ? BudgetAction::kWait
                                  : kind == AccountKind::kSize ? BudgetAction::kAbort
                                                               : BudgetAction::kWarn;
    EXPECT_EQ(actions[i].action, expected) << name_of(kind);
    EXPECT_EQ(actions[i].wait_milliseconds, kind == AccountKind::kTree ? 2000u : 0u);
  }
  for (const char* text : {"", "fial", "wait", "wait:", "wait:0ms", "wait:5", "wait:5m", "wait:9999999s", "fail,kill", "tree",
                           "tree=", "tree=kill,tree=fail", "forest=kill", "fail,", ",fail", "fail, kill"})
    EXPECT_FALSE(parse_actions(text, actions)) << text;
}

TEST(Config, SizeRangesThatDoNotOverlap) {
  SizeLimit limits[kSizeLimitsMost];
  std::size_t count = 0;
  ASSERT_TRUE(parse_size_limits("1M-:256M,4096-8191:64M,-100:1M,200:5K", limits, count));
  ASSERT_EQ(count, 4u);
  EXPECT_EQ(limits[0].first, 1u << 20);
  EXPECT_EQ(limits[0].last, ~std::uint64_t{0});
  EXPECT_EQ(limits[0].bytes, 256u << 20);
  EXPECT_EQ(limits[1].last, 8191u);
  EXPECT_EQ(limits[2].first, 0u);
  EXPECT_EQ(limits[2].last, 100u);
  EXPECT_EQ(limits[3].first, 200u);
  EXPECT_EQ(limits[3].last, 200u);
  for (const char* text : {"", "1M", "1M-2M", ":5M", "-:5M", "2M-1M:5M", "1M-:0", "1M-:", "1-10:1M,10-20:1M", "1M-:1M,",
                           "1:1,2:1,3:1,4:1,5:1,6:1,7:1,8:1,9:1", "a-b:c"}) {
    count = 77;
    EXPECT_FALSE(parse_size_limits(text, limits, count)) << text;
    EXPECT_EQ(count, 77u);
  }
}

TEST(Config, SignalsByName) {
  int signal = 0;
  EXPECT_TRUE(parse_signal("USR1", signal));
  EXPECT_EQ(signal, SIGUSR1);
  EXPECT_TRUE(parse_signal("SIGUSR2", signal));
  EXPECT_EQ(signal, SIGUSR2);
  EXPECT_TRUE(parse_signal("RTMIN+3", signal));
  EXPECT_EQ(signal, SIGRTMIN + 3);
  EXPECT_TRUE(parse_signal("SIGRTMIN", signal));
  EXPECT_EQ(signal, SIGRTMIN);
  for (const char* text : {"", "10", "KILL", "STOP", "SEGV", "usr1", "RTMIN+31", "RTMIN-1", "RTMIN+", "SIG"})
    EXPECT_FALSE(parse_signal(text, signal)) << text;
}

TEST(Config, DatesOfTheCalendar) {
  const struct {
    std::uint64_t seconds;
    const char* date;
  } cases[] = {{0, "19700101T000000Z"},           {951'782'399, "20000228T235959Z"}, {951'782'400, "20000229T000000Z"},
               {951'868'800, "20000301T000000Z"}, {1'735'689'599, "20241231T235959Z"}, {1'709'251'199, "20240229T235959Z"},
               {4'107'542'400, "21000301T000000Z"}, {253'402'300'799, "99991231T235959Z"}};
  for (const auto& each : cases) {
    TextOf<64> path;
    expand_path("%t", {1, "cat", 1, each.seconds}, path);
    EXPECT_EQ(path.view(), each.date);
  }
}

TEST(Config, FormsOfReports) {
  const struct {
    const char* entry;
    int forms;  // -1: malformed
  } cases[] = {{"NEBULA_STATS=0", 0}, {"NEBULA_STATS=off", 0}, {"NEBULA_STATS=1", kText}, {"NEBULA_STATS=json", kJson},
               {"NEBULA_STATS=text,json", kText | kJson}, {"NEBULA_STATS=html,prometheus,html", kHtml | kPrometheus},
               {"NEBULA_STATS=", -1}, {"NEBULA_STATS=text,", -1}, {"NEBULA_STATS=,text", -1}, {"NEBULA_STATS=JSON", -1},
               {"NEBULA_STATS=text json", -1}, {"NEBULA_STATS=1,json", -1}, {"NEBULA_STATS=jsonx", -1}};
  for (const auto& each : cases) {
    const Reading reading({each.entry});
    EXPECT_EQ(reading.config.stats, each.forms < 0 ? 0 : each.forms) << each.entry;
    EXPECT_EQ(has(reading.said, "is not understood; accepted: off, or one or several of text, json"), each.forms < 0)
        << each.entry << ": " << reading.said;
  }
}

TEST(Config, PathsExpand) {
  const struct {
    const char* pattern;
    const char* path;
  } cases[] = {
      {"/tmp/report", "/tmp/report"},     {"/tmp/%e.%p.%n", "/tmp/cat.4711.3"}, {"%%p", "%p"},
      {"%x", "%x"},                       {"end%", "end%"},      {"%t", "20251125T093500Z"},                       {"%p%p", "47114711"},
  };
  for (const auto& each : cases) {
    TextOf<256> path;
    expand_path(each.pattern, {4711, "cat", 3, 1764063300}, path);
    EXPECT_EQ(path.view(), each.path) << each.pattern;
  }
}

TEST(Config, HelpNamesEveryOption) {
  for (const Option& option : options()) {
    EXPECT_EQ(std::string(option.name).rfind("NEBULA_", 0), 0u);
    EXPECT_STRNE(option.description, "");
  }
}

TEST(Config, RoutesOfEveryForm) {
  Routes routes;
  EXPECT_TRUE(parse_routes("16-1024:pool,1025-32768:bump,32769-:node", routes));
  ASSERT_EQ(routes.count, 3u);
  EXPECT_EQ(routes.ranges[1].first, 1025u);
  EXPECT_EQ(routes.ranges[1].last, 32768u);
  EXPECT_EQ(routes.ranges[1].route, Route::kBump);
  EXPECT_EQ(routes.ranges[2].last, ~std::uint64_t{0});
  EXPECT_TRUE(parse_routes("pool", routes));
  EXPECT_EQ(routes.count, 0u);
  EXPECT_TRUE(parse_routes("bump", routes));
  ASSERT_EQ(routes.count, 1u);
  EXPECT_EQ(routes.ranges[0].last, kRoutedMost);
  EXPECT_FALSE(routes.is_auto);
  EXPECT_TRUE(parse_routes("auto", routes));
  EXPECT_EQ(routes.count, 0u);
  EXPECT_TRUE(routes.is_auto);
  EXPECT_TRUE(parse_routes("-4K:bump", routes));
  EXPECT_FALSE(routes.is_auto);
  EXPECT_EQ(routes.ranges[0].first, 0u);
  EXPECT_EQ(routes.ranges[0].last, 4096u);
  EXPECT_TRUE(parse_routes("64:bump", routes));
  EXPECT_EQ(routes.ranges[0].first, 64u);
  EXPECT_TRUE(parse_routes("1025-:bump", routes));
  EXPECT_EQ(routes.ranges[0].last, kRoutedMost);
}

TEST(Config, RoutesThatAreNone) {
  for (const char* text : {"", "node", "bumpy", "16-1024", "16-1024:", ":bump", "-:bump", "16-1024:heap", "1024-16:bump", "16-1024:bump,",
                           ",16:bump", "16-1024:pool,1024-2048:bump", "16-32769:bump", "40000-:pool", "1:bump,2:bump,3:bump,4:bump,5:bump,"
                           "6:bump,7:bump,8:bump,9:bump", "16-1024:bump:pool", "16--1024:bump"}) {
    Routes routes;
    routes.count = 7;
    EXPECT_FALSE(parse_routes(text, routes)) << text;
    EXPECT_EQ(routes.count, 7u);
  }
  const Reading reading({"NEBULA_ROUTE=16-40000:bump"});
  EXPECT_TRUE(has(reading.said, "NEBULA_ROUTE=16-40000:bump is not understood; accepted: pool, bump, auto, or up to 8 of FIRST-LAST:ROUTE"));
}

TEST(Config, LimitsOfNodesThreadsAndModules) {
  NodeLimit nodes[kNodeLimitsMost];
  NamedLimit named[kNamedLimitsMost];
  std::size_t count = 0;
  ASSERT_TRUE(parse_node_limits("0:1G,12:512M", nodes, count));
  ASSERT_EQ(count, 2u);
  EXPECT_EQ(nodes[1].node, 12u);
  EXPECT_EQ(nodes[1].bytes, std::uint64_t{512} << 20);
  for (const char* const wrong : {"", "0", "0:", ":1G", "0:0", "x:1G", "1024:1G", "0:1G,0:2G", "0:1G,"})
    EXPECT_FALSE(parse_node_limits(wrong, nodes, count)) << wrong;
  ASSERT_TRUE(parse_thread_limits("16M,worker-*:64M,main:1G", named, count));
  ASSERT_EQ(count, 3u);
  EXPECT_EQ(named[0].name, "worker-*");
  EXPECT_EQ(named[2].name, "*") << "the size for all others comes last";
  EXPECT_EQ(named[2].bytes, std::uint64_t{16} << 20);
  for (const char* const wrong : {"", "16M,32M", "main:1G,main:2G", ":1G", "main:", "a/b:1M", "main:0"})
    EXPECT_FALSE(parse_thread_limits(wrong, named, count)) << wrong;
  ASSERT_TRUE(parse_module_limits("libfoo.so:128M", named, count));
  EXPECT_EQ(count, 1u);
  for (const char* const wrong : {"", "128M", "/lib/libfoo.so:128M", "libfoo.so", "a:1,b:1,c:1,d:1,e:1,f:1,g:1,h:1,i:1"})
    EXPECT_FALSE(parse_module_limits(wrong, named, count)) << wrong;
}

TEST(Config, Logs) {
  Log log;
  ASSERT_TRUE(parse_log("error", log));
  EXPECT_TRUE(log.least == Level::kError && log.file.empty());
  ASSERT_TRUE(parse_log("debug:/tmp/a:b.%p", log));
  EXPECT_TRUE(log.least == Level::kDebug && log.file == "/tmp/a:b.%p");
  const std::string long_path = "info:" + std::string(1001, 'x');
  for (const char* const wrong : {"", "loud", "Info", "info:", ":/tmp/x", "info,debug", long_path.c_str()}) {
    EXPECT_FALSE(parse_log(wrong, log)) << wrong;
    EXPECT_TRUE(log.least == Level::kDebug && log.file == "/tmp/a:b.%p") << wrong;
  }
  EXPECT_TRUE(has_sign("%e.%p", 'p'));
  EXPECT_FALSE(has_sign("%%p", 'p'));
  EXPECT_FALSE(has_sign("p%", 'p'));
}

// Wherever it stands, it decides about what is said of the others.
TEST(Config, TheLogComesFirst) {
  const Reading quiet({"NEBULA_STATS=yes", "NEBULA_NUMBER=1", "NEBULA_LOG=error"});
  EXPECT_EQ(quiet.said, "");
  const Reading limit({"NEBULA_BUDGET=lots", "NEBULA_LOG=error"});
  EXPECT_TRUE(has(limit.said, "NEBULA_BUDGET=lots is not understood")) << limit.said;
  set_log(Level::kWarning, -1);
  const Reading wrong({"NEBULA_LOG=loud"});
  EXPECT_TRUE(has(wrong.said, "NEBULA_LOG=loud is not understood; accepted: error, warning, info or debug; ")) << wrong.said;
  set_log(Level::kWarning, -1);
  const Reading nowhere({"NEBULA_LOG=info:/nonexistent/log"});
  EXPECT_TRUE(has(nowhere.said, "NEBULA_LOG: nothing can be added to /nonexistent/log")) << nowhere.said;
  set_log(Level::kWarning, -1);
}

TEST(Config, PagePolicies) {
  using Purge = PagePolicy::Purge;
  PagePolicy policy;
  ASSERT_TRUE(parse_purge("delay:500ms", policy));
  EXPECT_TRUE(policy.purge == Purge::kAll && policy.delay_milliseconds == 500);
  ASSERT_TRUE(parse_purge("now", policy));
  EXPECT_EQ(policy.purge, Purge::kNow);
  ASSERT_TRUE(parse_purge("never", policy));
  EXPECT_EQ(policy.purge, Purge::kNever);
  for (const char* const wrong : {"", "delay", "delay:", "delay:0ms", "delay:5", "500ms", "now,never", "Never"}) {
    EXPECT_FALSE(parse_purge(wrong, policy)) << wrong;
    EXPECT_TRUE(policy.purge == Purge::kNever && policy.delay_milliseconds == 500) << wrong;
  }
  ASSERT_TRUE(parse_purge_kind("pageout", policy));
  EXPECT_EQ(policy.idle_pages, os::Advice::kPageOut);
  for (const char* const wrong : {"", "Free", "lazy", "free,cold"}) EXPECT_FALSE(parse_purge_kind(wrong, policy)) << wrong;
  EXPECT_EQ(policy.idle_pages, os::Advice::kPageOut);
  ASSERT_TRUE(parse_purge_kind("dontneed", policy));
  EXPECT_EQ(policy.idle_pages, os::Advice::kNone);
  ASSERT_TRUE(parse_reserve("512M", policy));
  EXPECT_TRUE(policy.reserve_bytes == 512 * kMiB && !policy.is_reserve_strict);
  ASSERT_TRUE(parse_reserve("1.5G:strict", policy));
  EXPECT_TRUE(policy.reserve_bytes == 1536 * kMiB && policy.is_reserve_strict);
  for (const char* const wrong : {"", ":strict", "512M:", "512M:Strict", "512M:strict:strict", "strict", "512M,strict", "50%"}) {
    EXPECT_FALSE(parse_reserve(wrong, policy)) << wrong;
    EXPECT_TRUE(policy.reserve_bytes == 1536 * kMiB && policy.is_reserve_strict) << wrong;
  }
  ASSERT_TRUE(parse_huge_pages("always", policy));
  EXPECT_EQ(policy.huge_pages, PagePolicy::HugePages::kAlways);
  for (const char* const wrong : {"", "madvise", "1", "always,never"}) EXPECT_FALSE(parse_huge_pages(wrong, policy)) << wrong;
  EXPECT_EQ(policy.huge_pages, PagePolicy::HugePages::kAlways);
  const Reading reading({"NEBULA_PURGE=soon", "NEBULA_THP=madvise"});
  EXPECT_TRUE(has(reading.said, "NEBULA_PURGE=soon is not understood; accepted: delay:TIME (delay:500ms, delay:10s), never or now"));
  EXPECT_TRUE(has(reading.said, "NEBULA_THP=madvise is not understood; accepted: auto, always or never; using the default, auto"));
}

}  // namespace
}  // namespace nebula::config
