// A text file read line by line in bounded room: for /proc and /sys, whose files can be longer than any stack.
#pragma once

#include <cstddef>
#include <string_view>

namespace nebula::os {

class Lines {
 public:
  explicit Lines(const char* path);  // a file that cannot be opened has no lines
  ~Lines();
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  // False at the end. The line is valid until the next call; of one longer than the room, the rest is skipped.
  [[nodiscard]] bool next(std::string_view& line);
  [[nodiscard]] bool is_open() const { return file_ >= 0; }

 private:
  [[nodiscard]] bool fill();

  static constexpr std::size_t kRoom = 1024;
  int file_;
  std::size_t start_ = 0;
  std::size_t end_ = 0;
  bool skips_ = false;  // what comes is the rest of a line that was too long
  char room_[kRoom];
};

}  // namespace nebula::os
