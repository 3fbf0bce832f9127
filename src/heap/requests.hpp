// The sizes that programs ask for, beside those that they get: noted on slow paths when asked for, that is for every large
// object and for each small one that finds its pool empty, which is no choice by size within a class.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "size_class/size_class.hpp"

namespace nebula::heap {

struct Requests {
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;
};

inline constexpr SizeClass kNoClass = SizeClass{0};  // of large objects

// From now on, called before threads exist.
void sample_requests();
extern constinit std::atomic<bool> samples_requests;  // relaxed
[[gnu::noinline, gnu::cold]] void note_request(SizeClass c, std::size_t bytes);

[[nodiscard]] Requests sampled_requests(SizeClass c);
[[nodiscard]] Requests large_requests();
// What these were given, in whole pages.
[[nodiscard]] std::uint64_t large_granted_bytes();

}  // namespace nebula::heap
