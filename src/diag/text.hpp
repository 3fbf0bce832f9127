// Text without allocation: a buffer of fixed size that stops, and says so, where it is full; or that is emptied there, into
// a file say, where it has a drain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/node_set.hpp"

namespace nebula {

// At most the first `most` bytes; string_view::substr would need the C++ library for the error it may throw.
[[nodiscard]] constexpr std::string_view start_of(std::string_view words, std::size_t most) {
  return words.size() <= most ? words : std::string_view(words.data(), most);
}

// What follows the first `count` bytes.
[[nodiscard]] constexpr std::string_view after(std::string_view words, std::size_t count) {
  words.remove_prefix(count < words.size() ? count : words.size());
  return words;
}

// What stands before the first `separator`, which is taken off `words`; all of it where there is none.
[[nodiscard]] constexpr std::string_view take_field(std::string_view& words, char separator) {
  std::size_t length = 0;
  while (length < words.size() && words[length] != separator) ++length;
  const std::string_view field = start_of(words, length);
  words = after(words, length + 1);
  return field;
}

class Text {
 public:
  Text(char* buffer, std::size_t capacity) : buffer_(buffer), capacity_(capacity) {}
  using Drain = void (*)(void* target, std::string_view words);
  Text(char* buffer, std::size_t capacity, Drain drain, void* target)
      : buffer_(buffer), capacity_(capacity), drain_(drain), target_(target) {}
  // What is still in the buffer goes into the drain.
  void empty();

  Text& operator<<(std::string_view words);
  Text& operator<<(const char* words);
  Text& operator<<(char letter);
  Text& operator<<(std::uint64_t value);  // grouped: 1,234,567

  Text& plain(std::uint64_t value);              // 1234567
  Text& address(const void* pointer);            // 0x18c0ffee0040
  Text& right(std::uint64_t value, unsigned width);  // grouped, padded on the left
  Text& left(std::string_view words, unsigned width);
  Text& right(std::string_view words, unsigned width);
  Text& seconds(std::uint64_t milliseconds);     // 1.234 s
  Text& date_and_time(std::uint64_t seconds);    // since 1970, UTC: 20261125T093500Z
  Text& nodes(const NodeSet& set);               // 0-2,8, as the kernel writes it; "none"

  [[nodiscard]] std::string_view view() const { return {buffer_, length_}; }
  [[nodiscard]] std::size_t length() const { return length_; }
  [[nodiscard]] bool is_full() const { return full_; }

 private:
  char* buffer_;
  std::size_t capacity_;
  std::size_t length_ = 0;
  bool full_ = false;
  Drain drain_ = nullptr;
  void* target_ = nullptr;
};

// A Text with its room on the stack.
template <std::size_t kCapacity>
class TextOf : public Text {
 public:
  TextOf() : Text(room_, kCapacity) {}
  TextOf(const TextOf&) = delete;
  TextOf& operator=(const TextOf&) = delete;

 private:
  char room_[kCapacity];
};

}  // namespace nebula
