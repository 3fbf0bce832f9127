// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace nebula::tool {

[[nodiscard]] std::string grouped(std::uint64_t value);          // 1,234,567
[[nodiscard]] std::string grouped_change(std::int64_t value);    // +1,234,567, −5, 0
[[nodiscard]] std::string bytes_in_short(double bytes);          // 1.2 MiB
[[nodiscard]] std::string count_in_short(double count);          // 12.3k
[[nodiscard]] std::string duration(std::uint64_t nanoseconds);   // 3.2 s, 12:04, 5:02:11

}  // namespace nebula::tool
