// When and how free pages go back to the system, and where huge pages are asked for: what NEBULA_PURGE, NEBULA_PURGE_KIND,
// NEBULA_RESERVE, NEBULA_LOCK, NEBULA_HUGETLB and NEBULA_THP say.
#pragma once

#include <cstdint>
#include <string_view>

#include "os/memory.hpp"

namespace nebula::config {

struct PagePolicy {
  enum class Purge : std::uint8_t {
    kKeepSome,  // after the delay, but for 4 MiB or an eighth of what is in use
    kAll,       // after the delay
    kNow,       // at the end of the call that frees them
    kNever,     // only for a budget, under pressure, or when the program asks
  };
  enum class HugePages : std::uint8_t { kAuto, kAlways, kNever };

  Purge purge = Purge::kKeepSome;
  HugePages huge_pages = HugePages::kAuto;
  std::uint32_t delay_milliseconds = 1000;
  os::Advice idle_pages = os::Advice::kNone;  // after the delay; none: they are given back
  std::uint64_t reserve_bytes = 0;
  bool is_reserve_strict = false;  // no program without all of it
  bool locks = false;
  bool uses_huge_tlb = false;
};

// "delay:500ms", "never" or "now". False for anything else: the policy unchanged, here and below.
[[nodiscard]] bool parse_purge(std::string_view text, PagePolicy& policy);
// "dontneed", "free", "cold" or "pageout".
[[nodiscard]] bool parse_purge_kind(std::string_view text, PagePolicy& policy);
[[nodiscard]] std::string_view purge_kind_of(os::Advice advice);
// A size, or "512M:strict".
[[nodiscard]] bool parse_reserve(std::string_view text, PagePolicy& policy);
// "auto", "always" or "never".
[[nodiscard]] bool parse_huge_pages(std::string_view text, PagePolicy& policy);

}  // namespace nebula::config
