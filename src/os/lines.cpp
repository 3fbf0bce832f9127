#include "os/lines.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include <cstring>

#include "os/process.hpp"
#include "os/system_call.hpp"

namespace nebula::os {

Lines::Lines(const char* path)
    : file_(static_cast<int>(system_call(SYS_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY | O_CLOEXEC))) {}

Lines::~Lines() {
  if (is_open()) close_file(file_);
}

// More bytes behind what is there; false at the end of the file or of the room.
bool Lines::fill() {
  if (!is_open()) return false;
  if (start_ != 0) {
    std::memmove(room_, room_ + start_, end_ - start_);
    end_ -= start_;
    start_ = 0;
  }
  if (end_ == kRoom) return false;
  long got;
  do {
    got = system_call(SYS_read, file_, reinterpret_cast<long>(room_ + end_), static_cast<long>(kRoom - end_));
  } while (got == -EINTR);
  if (got <= 0) return false;
  end_ += static_cast<std::size_t>(got);
  return true;
}

bool Lines::next(std::string_view& line) {
  std::size_t looked_at = 0;
  for (;;) {
    const char* const from = room_ + start_;
    const void* const newline = std::memchr(from + looked_at, '\n', end_ - start_ - looked_at);
    if (newline != nullptr) {
      const auto length = static_cast<std::size_t>(static_cast<const char*>(newline) - from);
      start_ += length + 1;
      looked_at = 0;
      if (!skips_) {
        line = {from, length};
        return true;
      }
      skips_ = false;
      continue;
    }
    looked_at = end_ - start_;
    if (fill()) continue;
    if (looked_at == 0) return false;
    line = {room_ + start_, looked_at};
    const bool was_rest = skips_;
    skips_ = looked_at == kRoom;  // the room is full: the line goes on
    start_ = end_;
    looked_at = 0;
    if (!was_rest) return true;
  }
}

}  // namespace nebula::os
