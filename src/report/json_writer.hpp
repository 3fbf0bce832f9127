// JSON (RFC 8259) into a Text: commas, quotes and escapes. Names and values only ever nest as far as the calls do.
#pragma once

#include <cstdint>
#include <string_view>

#include "diag/text.hpp"

namespace nebula::report {

enum class Layout {
  kLines,    // a line for each property of the outermost object and each element of their arrays
  kOneLine,
};

class JsonWriter {
 public:
  JsonWriter(Text& text, Layout layout) : text_(text), layout_(layout) {}

  // Of an object: with a name. Of an array: without.
  void open_object(std::string_view name = {}) { open(name, '{'); }
  void close_object() { close('}'); }
  void open_array(std::string_view name = {}) { open(name, '['); }
  void close_array() { close(']'); }
  void number(std::string_view name, std::uint64_t value);
  void boolean(std::string_view name, bool value);
  void null(std::string_view name);
  // Bytes that are no UTF-8 become U+FFFD; '<' is escaped, so that the whole may stand in an HTML file's script.
  void string(std::string_view name, std::string_view value);

 private:
  void open(std::string_view name, char bracket);
  void close(char bracket);
  void begin_value(std::string_view name);
  void begin_line();
  void write_string(std::string_view value);

  Text& text_;
  Layout layout_;
  unsigned depth_ = 0;
  bool is_first_ = true;  // of the innermost object or array
};

// How many bytes the UTF-8 character at the start of `words` has; 0 when there is none.
[[nodiscard]] unsigned utf8_length(std::string_view words);

}  // namespace nebula::report
