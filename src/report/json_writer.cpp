#include "report/json_writer.hpp"

namespace nebula::report {
namespace {

constexpr unsigned kLinesTo = 2;  // deeper values share a line

bool is_continuation(char letter) { return (static_cast<unsigned char>(letter) & 0xc0) == 0x80; }

}  // namespace

// After table 3-7 of the Unicode Standard: no overlong forms, no surrogates, nothing above U+10FFFF.
unsigned utf8_length(std::string_view words) {
  if (words.empty()) return 0;
  const auto first = static_cast<unsigned char>(words[0]);
  if (first < 0x80) return 1;
  const unsigned length = first >= 0xc2 && first <= 0xdf ? 2 : first >= 0xe0 && first <= 0xef ? 3
                          : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
  if (length == 0 || words.size() < length) return 0;
  for (unsigned i = 1; i < length; ++i)
    if (!is_continuation(words[i])) return 0;
  const auto second = static_cast<unsigned char>(words[1]);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
      (first == 0xf4 && second > 0x8f))
    return 0;
  return length;
}

void JsonWriter::number(std::string_view name, std::uint64_t value) {
  begin_value(name);
  text_.plain(value);
}

void JsonWriter::boolean(std::string_view name, bool value) {
  begin_value(name);
  text_ << (value ? "true" : "false");
}

void JsonWriter::null(std::string_view name) {
  begin_value(name);
  text_ << "null";
}

void JsonWriter::string(std::string_view name, std::string_view value) {
  begin_value(name);
  write_string(value);
}

void JsonWriter::open(std::string_view name, char bracket) {
  if (depth_ != 0) begin_value(name);
  text_ << bracket;
  ++depth_;
  is_first_ = true;
}

void JsonWriter::close(char bracket) {
  --depth_;
  if (depth_ < kLinesTo && !is_first_ && (depth_ == 0 || bracket == ']')) begin_line();
  text_ << bracket;
  is_first_ = false;
}

void JsonWriter::begin_value(std::string_view name) {
  if (!is_first_) text_ << ',';
  // The properties of the outermost object, and the elements of its arrays.
  if (depth_ == 1 || (depth_ == kLinesTo && name.empty())) begin_line();
  is_first_ = false;
  if (name.empty()) return;
  write_string(name);
  text_ << ':';
}

void JsonWriter::begin_line() {
  if (layout_ == Layout::kOneLine) return;
  text_ << '\n';
  for (unsigned i = 0; i < depth_; ++i) text_ << ' ';
}

void JsonWriter::write_string(std::string_view value) {
  text_ << '"';
  while (!value.empty()) {
    const char letter = value[0];
    const unsigned length = utf8_length(value);
    if (letter == '"' || letter == '\\') {
      text_ << '\\' << letter;
    } else if (length == 0) {
      text_ << "\\ufffd";
    } else if (static_cast<unsigned char>(letter) < 0x20 || letter == '<' || letter == 0x7f) {
      constexpr char kDigits[] = "0123456789abcdef";
      text_ << "\\u00" << kDigits[letter >> 4 & 15] << kDigits[letter & 15];
    } else {
      text_ << start_of(value, length);
    }
    value.remove_prefix(length == 0 ? 1 : length);
  }
  text_ << '"';
}

}  // namespace nebula::report
