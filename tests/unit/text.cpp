#include "diag/text.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace nebula {
namespace {

template <class Write>
std::string written(Write write) {
  TextOf<128> text;
  write(text);
  return std::string(text.view());
}

TEST(Text, NumbersAreGroupedOrPlain) {
  const struct {
    std::uint64_t value;
    const char* grouped;
  } cases[] = {{0, "0"}, {999, "999"}, {1000, "1,000"}, {1234567, "1,234,567"},
               {~std::uint64_t{0}, "18,446,744,073,709,551,615"}};
  for (const auto& each : cases) {
    EXPECT_EQ(written([&](Text& text) { text << each.value; }), each.grouped);
    EXPECT_EQ(written([&](Text& text) { text.plain(each.value); }), std::to_string(each.value));
  }
}

TEST(Text, ColumnsAreFilledAndNeverCut) {
  EXPECT_EQ(written([](Text& text) { text.right(1234, 8); }), "   1,234");
  EXPECT_EQ(written([](Text& text) { text.right(123456789, 4); }), "123,456,789");
  EXPECT_EQ(written([](Text& text) { text.left("ab", 4) << '|'; }), "ab  |");
  EXPECT_EQ(written([](Text& text) { text.left("abcdef", 4) << '|'; }), "abcdef|");
  EXPECT_EQ(written([](Text& text) { text.right("ab", 4) << '|'; }), "  ab|");
}

TEST(Text, AddressesAndSeconds) {
  EXPECT_EQ(written([](Text& text) { text.address(reinterpret_cast<void*>(0x18c0ffee0040)); }), "0x18c0ffee0040");
  EXPECT_EQ(written([](Text& text) { text.seconds(1234); }), "1.234 s");
  EXPECT_EQ(written([](Text& text) { text.seconds(5); }), "0.005 s");
}

TEST(Text, StopsWhereItIsFullAndSaysSo) {
  for (std::size_t capacity = 0; capacity < 12; ++capacity) {
    char room[16];
    std::memset(room, '#', sizeof room);
    Text text(room, capacity);
    text << "abc" << std::uint64_t{1234} << 'x' << "yz";
    EXPECT_LE(text.length(), capacity);
    EXPECT_EQ(text.is_full(), capacity < 11) << capacity;
    for (std::size_t i = capacity; i < sizeof room; ++i) EXPECT_EQ(room[i], '#') << "written behind the end";
  }
}

}  // namespace
}  // namespace nebula
