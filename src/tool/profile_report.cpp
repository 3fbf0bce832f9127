#include "tool/profile_report.hpp"

#include <CLI/Option.hpp>
#include <fmt/chrono.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tool/numbers.hpp"
#include "tool/sites.hpp"
#include "tool/symbolize.hpp"

namespace nebula::tool {
namespace {

constexpr std::size_t kFramesMost = 12;

std::string counted(std::uint64_t count, const char* what) { return fmt::format("{} {}{}", grouped(count), what, count == 1 ? "" : "s"); }

std::uint64_t not_below_zero(std::int64_t value) { return value < 0 ? 0 : static_cast<std::uint64_t>(value); }

std::uint64_t total(const Sites& sites, std::size_t kind) {
  return std::accumulate(sites.sites.begin(), sites.sites.end(), std::uint64_t{0},
                         [kind](std::uint64_t sum, const Site& site) { return sum + not_below_zero(site.values[kind]); });
}

// A table's column of bytes and the objects that go with it, where the profile has them.
struct Kind {
  std::size_t bytes;
  std::optional<std::size_t> objects;
};

std::optional<std::size_t> find_kind(const Sites& sites, const char* name) {
  const auto found = std::find(sites.kinds.begin(), sites.kinds.end(), name);
  if (found == sites.kinds.end()) return {};
  return static_cast<std::size_t>(found - sites.kinds.begin());
}

// Of a sum by lot: every object of s bytes is a sample with probability p = 1 − e^(−s/period), so n of them have the variance
// n·s²·(1 − p)/p. The sizes of a site are taken for their mean.
double standard_error(const Sites& sites, const Kind& kind, double period) {
  double variance = 0;
  for (const Site& site : sites.sites) {
    const auto bytes = static_cast<double>(site.values[kind.bytes]);
    const auto objects = static_cast<double>(site.values[*kind.objects]);
    if (bytes <= 0 || objects <= 0) continue;
    const double chance = -std::expm1(-bytes / objects / period);
    variance += bytes * (bytes / objects) * (1 - chance) / chance;
  }
  return std::sqrt(variance);
}

std::string in_objects(const Site& site, const Kind& kind) {
  return kind.objects ? " in " + counted(not_below_zero(site.values[*kind.objects]), "object") : "";
}

void print_site(const Site& site, const Kind& kind, const std::string& share, const std::optional<Kind>& whole) {
  fmt::print("  {} bytes, {}{}", grouped(not_below_zero(site.values[kind.bytes])), share, in_objects(site, kind));
  if (whole) fmt::print("; of {} allocated{}", grouped(not_below_zero(site.values[whole->bytes])), in_objects(site, *whole));
  fmt::print("\n");
  if (site.frames.empty()) fmt::print("      unknown: there was no room for its stack\n");
  const std::size_t shown = std::min(site.frames.size(), kFramesMost);
  for (std::size_t i = 0; i < shown; ++i) fmt::print("      {}\n", site.frames[i]);
  if (shown < site.frames.size()) fmt::print("      and {} more\n", site.frames.size() - shown);
}

void print_table(const std::string& heading, Sites& sites, const Kind& kind, const std::optional<Kind>& whole, unsigned most) {
  std::stable_sort(sites.sites.begin(), sites.sites.end(),
                   [&kind](const Site& one, const Site& other) { return one.values[kind.bytes] > other.values[kind.bytes]; });
  const auto behind = std::find_if(sites.sites.begin(), sites.sites.end(), [&kind](const Site& site) { return site.values[kind.bytes] <= 0; });
  const auto count = static_cast<std::size_t>(behind - sites.sites.begin());
  const std::uint64_t all = total(sites, kind.bytes);
  fmt::print("\n{}: {}{}\n", heading, count > most ? fmt::format("the {} largest of ", grouped(most)) : "", counted(count, "site"));
  std::uint64_t rest = all;
  for (std::size_t i = 0; i < std::min<std::size_t>(count, most); ++i) {
    const Site& site = sites.sites[i];
    const std::uint64_t bytes = not_below_zero(site.values[kind.bytes]);
    print_site(site, kind, fmt::format("{:.1f} %", 100 * static_cast<double>(bytes) / static_cast<double>(all)), whole);
    rest -= bytes;
  }
  if (count > most) fmt::print("  {} bytes of {}\n", grouped(rest), counted(count - most, "other site"));
}

void print_total(const char* name, const Sites& sites, const Kind& kind, double period) {
  fmt::print("  {:<10}{:>18} bytes", name, grouped(total(sites, kind.bytes)));
  if (kind.objects) fmt::print(" in {}", counted(total(sites, *kind.objects), "object"));
  if (kind.objects && period > 0) fmt::print("; standard error {} bytes", grouped(static_cast<std::uint64_t>(standard_error(sites, kind, period))));
  fmt::print("\n");
}

void print_sites(Sites sites, double period, unsigned most) {
  const auto in_use = find_kind(sites, "inuse_space");
  const auto allocated = find_kind(sites, "alloc_space");
  if (!in_use || !allocated) {  // another program's profile, or collapsed stacks
    for (std::size_t kind = 0; kind < sites.kinds.size(); ++kind) fmt::print("  {:<16}{:>22}\n", sites.kinds[kind], grouped(total(sites, kind)));
    if (!sites.kinds.empty()) print_table(sites.kinds.back(), sites, {sites.kinds.size() - 1, {}}, {}, most);
    return;
  }
  const Kind live = {*in_use, find_kind(sites, "inuse_objects")};
  const Kind all = {*allocated, find_kind(sites, "alloc_objects")};
  print_total("live", sites, live, period);
  print_total("allocated", sites, all, period);
  print_table("live", sites, live, all, most);
  print_table("allocated", sites, all, {}, most);
}

void print_pprof(const pprof::Profile& profile, unsigned most) {
  const std::string program = profile.mapping_size() == 0 ? "unknown" : word_of(profile, profile.mapping(0).filename());
  fmt::print("heap profile of {}", program);
  if (profile.time_nanos() != 0) fmt::print(", written {:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(static_cast<std::time_t>(profile.time_nanos() / 1'000'000'000)));
  if (profile.duration_nanos() > 0) fmt::print(", after {}", duration(static_cast<std::uint64_t>(profile.duration_nanos())));
  if (profile.period() > 0) fmt::print("; one sample in {} bytes", grouped(static_cast<std::uint64_t>(profile.period())));
  fmt::print("\n");
  print_sites(sites_of(profile, Places::kShown), static_cast<double>(profile.period()), most);
}

}  // namespace

void add_profile_options(CLI::App& command, ProfileWishes& wishes) {
  command.add_option("--debug-dir", wishes.debug_folders, "Of a profile: look here first for programs, libraries and debug information; also more than once")->type_name("FOLDER")->allow_extra_args(false);
  command.add_option("--sites", wishes.sites, "Of a profile: how many sites to show (10)")->type_name("NUMBER");
}

void print_profile(ProfileFile profile, const ProfileWishes& wishes) {
  const DebugFiles files(wishes.debug_folders);
  const std::vector<std::string> remarks = std::visit([&files](auto& read) { return give_names(read, files); }, profile);
  if (const auto* const stacks = std::get_if<CollapsedStacks>(&profile)) {
    fmt::print("collapsed stacks\n");
    print_sites(sites_of(*stacks), 0, wishes.sites);
  } else {
    print_pprof(std::get<pprof::Profile>(profile), wishes.sites);
  }
  for (const std::string& words : remarks) fmt::print(stderr, "nebula: {}\n", words);
}

}  // namespace nebula::tool
