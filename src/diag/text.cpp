#include "diag/text.hpp"

#include <cstring>

namespace nebula {
namespace {

constexpr std::size_t kDigitsMax = 26;  // 20 digits and 6 commas

// Writes the digits so that they end at `end`; returns where they start.
char* write_digits(char* end, std::uint64_t value, bool grouped) {
  unsigned digits = 0;
  do {
    if (grouped && digits != 0 && digits % 3 == 0) *--end = ',';
    *--end = static_cast<char>('0' + value % 10);
    value /= 10;
    ++digits;
  } while (value != 0);
  return end;
}

void write_two_digits(Text& result, std::uint64_t value) {
  if (value < 10) result << '0';
  result.plain(value);
}

// The date of a day since 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day is a
// year's last, in eras of 400 years (Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013).
void write_date(Text& result, std::uint64_t day) {
  day += 719'468;  // from 0000-03-01
  const std::uint64_t era = day / 146'097;
  const std::uint64_t day_of_era = day % 146'097;
  const std::uint64_t year = (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::uint64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
  const std::uint64_t month = (5 * day_of_year + 2) / 153;  // 0 is March
  result.plain(era * 400 + year + (month >= 10 ? 1 : 0));
  write_two_digits(result, month >= 10 ? month - 9 : month + 3);
  write_two_digits(result, day_of_year - (153 * month + 2) / 5 + 1);
}

}  // namespace

void Text::empty() {
  if (length_ != 0) drain_(target_, view());
  length_ = 0;
}

Text& Text::operator<<(std::string_view words) {
  while (drain_ != nullptr && words.size() > capacity_ - length_) {
    const std::size_t part = capacity_ - length_;
    std::memcpy(buffer_ + length_, words.data(), part);
    length_ += part;
    words.remove_prefix(part);
    empty();
  }
  std::size_t length = words.size();
  if (length > capacity_ - length_) {
    length = capacity_ - length_;
    full_ = true;
  }
  std::memcpy(buffer_ + length_, words.data(), length);
  length_ += length;
  return *this;
}

Text& Text::operator<<(const char* words) { return *this << std::string_view(words); }

Text& Text::operator<<(char letter) { return *this << std::string_view(&letter, 1); }

Text& Text::operator<<(std::uint64_t value) { return right(value, 0); }

Text& Text::plain(std::uint64_t value) {
  char digits[kDigitsMax];
  char* const end = digits + kDigitsMax;
  const char* const start = write_digits(end, value, false);
  return *this << std::string_view(start, static_cast<std::size_t>(end - start));
}

Text& Text::address(const void* pointer) {
  char digits[18];
  char* start = digits + sizeof digits;
  auto value = reinterpret_cast<std::uintptr_t>(pointer);
  do {
    *--start = "0123456789abcdef"[value & 15];
    value >>= 4;
  } while (value != 0);
  *--start = 'x';
  *--start = '0';
  return *this << std::string_view(start, static_cast<std::size_t>(digits + sizeof digits - start));
}

Text& Text::right(std::uint64_t value, unsigned width) {
  char digits[kDigitsMax];
  char* const end = digits + kDigitsMax;
  const char* const start = write_digits(end, value, true);
  return right(std::string_view(start, static_cast<std::size_t>(end - start)), width);
}

Text& Text::right(std::string_view words, unsigned width) {
  for (std::size_t i = words.size(); i < width; ++i) *this << ' ';
  return *this << words;
}

Text& Text::left(std::string_view words, unsigned width) {
  *this << words;
  for (std::size_t i = words.size(); i < width; ++i) *this << ' ';
  return *this;
}

Text& Text::seconds(std::uint64_t milliseconds) {
  *this << milliseconds / 1000 << '.';
  const std::uint64_t rest = milliseconds % 1000;
  if (rest < 100) *this << '0';
  if (rest < 10) *this << '0';
  return plain(rest) << " s";
}

Text& Text::date_and_time(std::uint64_t seconds) {
  constexpr std::uint64_t kDay = 24 * 3600;
  write_date(*this, seconds / kDay);
  *this << 'T';
  write_two_digits(*this, seconds % kDay / 3600);
  write_two_digits(*this, seconds % 3600 / 60);
  write_two_digits(*this, seconds % 60);
  return *this << 'Z';
}

Text& Text::nodes(const NodeSet& set) {
  if (set.is_empty()) return *this << "none";
  bool any = false;
  for (unsigned first = set.next(0); first != NodeSet::kEnd;) {
    unsigned last = first;
    while (set.has(last + 1)) ++last;
    if (any) *this << ',';
    plain(first);
    if (last != first) (*this << '-').plain(last);
    any = true;
    first = set.next(last + 1);
  }
  return *this;
}

}  // namespace nebula
