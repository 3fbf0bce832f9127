// Memory that was given back to the system and that nobody has been told of yet, by why it was. Noted under the slow path's locks, told
// outside of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nebula::heap {

enum class PurgeReason : std::uint8_t { kCall, kIdle, kSoftLimit, kHardLimit, kSystem, kPressure, kEnd };
[[nodiscard]] const char* name_of(PurgeReason reason);
inline constexpr unsigned kPurgeReasons = static_cast<unsigned>(PurgeReason::kEnd);

namespace purge_news {

// From now on.
void watch();
void note(PurgeReason reason, std::size_t bytes);
// What was noted since the last call: each byte is told to one caller.
[[nodiscard]] std::uint64_t take(PurgeReason reason);

// While this thread tells news: what is given back by those who are told is no news, and they take none from those who come after.
class Telling {
 public:
  Telling() { is_telling = true; }
  ~Telling() { is_telling = false; }
  Telling(const Telling&) = delete;
  Telling& operator=(const Telling&) = delete;
  static constinit thread_local bool is_telling;
};

}  // namespace purge_news
}  // namespace nebula::heap
