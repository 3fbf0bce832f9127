#include "config/page_policy.hpp"

#include "config/budgets.hpp"
#include "config/config.hpp"
#include "diag/text.hpp"

namespace nebula::config {

bool parse_purge(std::string_view text, PagePolicy& policy) {
  constexpr std::string_view kDelay = "delay:";
  if (text == "never") {
    policy.purge = PagePolicy::Purge::kNever;
  } else if (text == "now") {
    policy.purge = PagePolicy::Purge::kNow;
  } else {
    if (start_of(text, kDelay.size()) != kDelay) return false;
    text.remove_prefix(kDelay.size());
    if (!parse_milliseconds(text, policy.delay_milliseconds)) return false;
    policy.purge = PagePolicy::Purge::kAll;
  }
  return true;
}

std::string_view purge_kind_of(os::Advice advice) {
  constexpr std::string_view kKinds[] = {"dontneed", "free", "cold", "pageout"};
  return kKinds[static_cast<std::size_t>(advice)];
}

bool parse_purge_kind(std::string_view text, PagePolicy& policy) {
  for (const os::Advice advice : {os::Advice::kNone, os::Advice::kFree, os::Advice::kCold, os::Advice::kPageOut}) {
    if (text != purge_kind_of(advice)) continue;
    policy.idle_pages = advice;
    return true;
  }
  return false;
}

bool parse_reserve(std::string_view text, PagePolicy& policy) {
  constexpr std::string_view kStrict = ":strict";
  const bool is_strict = text.size() > kStrict.size() && text.ends_with(kStrict);
  if (is_strict) text.remove_suffix(kStrict.size());
  if (!parse_size(text, policy.reserve_bytes)) return false;
  policy.is_reserve_strict = is_strict;
  return true;
}

bool parse_huge_pages(std::string_view text, PagePolicy& policy) {
  using HugePages = PagePolicy::HugePages;
  if (text != "auto" && text != "always" && text != "never") return false;
  policy.huge_pages = text == "auto" ? HugePages::kAuto : text == "always" ? HugePages::kAlways : HugePages::kNever;
  return true;
}

}  // namespace nebula::config
