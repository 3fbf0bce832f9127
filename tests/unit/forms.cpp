#include "report/forms.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "budget/account.hpp"
#include "report/json_writer.hpp"
#include "stats/advice.hpp"
#include "support/heap_checks.hpp"

namespace nebula {
namespace {

using report::JsonWriter;
using report::Layout;

std::string json_string(std::string_view value) {
  TextOf<256> text;
  JsonWriter json(text, Layout::kOneLine);
  json.open_array();
  json.string({}, value);
  json.close_array();
  const std::string_view all = text.view();
  return std::string(all.substr(1, all.size() - 2));
}

TEST(Forms, JsonStringsAreEscaped) {
  const struct {
    std::string_view value;
    const char* json;
  } cases[] = {
      {"", R"("")"}, {"plain", R"("plain")"}, {"a\"b\\c", R"("a\"b\\c")"}, {"\n\t\x01\x1f\x7f", R"("\u000a\u0009\u0001\u001f\u007f")"},
      {"</script>", R"("\u003c/script>")"}, {"gr\xc3\xb6\xc3\x9f", "\"gr\xc3\xb6\xc3\x9f\""}, {"\xe2\x82\xac", "\"\xe2\x82\xac\""},
      {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""}, {"\xff", R"("\ufffd")"}, {"\xc3", R"("\ufffd")"}, {"\xc3(", R"("\ufffd(")"},
      {"\xc0\x80", R"("\ufffd\ufffd")"},              // overlong
      {"\xed\xa0\x80", R"("\ufffd\ufffd\ufffd")"},    // a surrogate
      {"\xf4\x90\x80\x80", R"("\ufffd\ufffd\ufffd\ufffd")"},  // above U+10FFFF
      {"\xe2\x82", R"("\ufffd\ufffd")"}, {std::string_view("a\0b", 3), R"("a\u0000b")"},
  };
  for (const auto& each : cases) EXPECT_EQ(json_string(each.value), each.json);
}

TEST(Forms, JsonNestsInBothLayouts) {
  const auto write = [](Layout layout) {
    TextOf<512> text;
    JsonWriter json(text, layout);
    json.open_object();
    json.number("a", 1);
    json.open_object("b");
    json.boolean("c", true);
    json.null("d");
    json.close_object();
    json.open_array("e");
    json.close_array();
    json.open_array("f");
    for (int i = 0; i < 2; ++i) {
      json.open_object();
      json.number("g", ~std::uint64_t{0});
      json.close_object();
    }
    json.string({}, "h");
    json.close_array();
    json.close_object();
    return std::string(text.view());
  };
  EXPECT_EQ(write(Layout::kOneLine),
            R"({"a":1,"b":{"c":true,"d":null},"e":[],"f":[{"g":18446744073709551615},{"g":18446744073709551615},"h"]})");
  EXPECT_EQ(write(Layout::kLines),
            "{\n \"a\":1,\n \"b\":{\"c\":true,\"d\":null},\n \"e\":[],\n \"f\":[\n  {\"g\":18446744073709551615},\n"
            "  {\"g\":18446744073709551615},\n  \"h\"\n ]\n}");
}

TEST(Forms, TextDrainsInWholeAndInOrder) {
  std::vector<std::string> drained;
  char room[16];
  Text text(room, sizeof room, [](void* to, std::string_view words) { static_cast<std::vector<std::string>*>(to)->emplace_back(words); },
            &drained);
  std::string expected;
  for (int i = 0; i < 40; ++i) {
    const std::string words(static_cast<std::size_t>(i), static_cast<char>('a' + i % 26));
    text << words;
    expected += words;
  }
  text.empty();
  std::string all;
  for (const std::string& each : drained) {
    EXPECT_LE(each.size(), sizeof room);
    EXPECT_FALSE(each.empty());
    all += each;
  }
  EXPECT_EQ(all, expected);
  EXPECT_FALSE(text.is_full());
  text.empty();
  EXPECT_EQ(drained.back(), all.substr(all.size() - drained.back().size())) << "nothing is written twice";
}

std::vector<std::string> advice_of(const stats::Snapshot& snapshot) {
  std::vector<std::string> words;
  stats::for_each_advice(snapshot, &words, [](void* to, std::string_view each) {
    static_cast<std::vector<std::string>*>(to)->emplace_back(each);
  });
  return words;
}

bool has(const std::vector<std::string>& advice, const char* words) {
  for (const std::string& each : advice)
    if (each.find(words) != std::string::npos) return true;
  return false;
}

std::unique_ptr<stats::Snapshot> calm() {
  auto s = std::make_unique<stats::Snapshot>();
  s->budget.hard_limit = kNoLimit;
  s->budget.soft_limit = kNoLimit;
  s->committed_bytes = 100 * kMiB;
  s->committed_peak_bytes = 100 * kMiB;
  s->all_small.live_bytes = 80 * kMiB;
  s->huge_page_mode = "madvise";
  s->process.swapped_bytes = 0;
  return s;
}

// Each piece of advice: not a step before its figures support it, and with these figures in it.
// What is taken anew is cleared with zeros.
TEST(Forms, ASnapshotBeginsAsZeros) {
  const std::unique_ptr<std::byte[]> memory(new std::byte[sizeof(stats::Snapshot)]());
  ::new (memory.get()) stats::Snapshot{};
  for (std::size_t i = 0; i < sizeof(stats::Snapshot); ++i) ASSERT_EQ(memory[i], std::byte{0}) << i;
}

TEST(Forms, AdviceOnlyWhereTheFiguresSupportIt) {
  EXPECT_EQ(advice_of(*calm()).size(), 0u);

  auto s = calm();
  stats::ClassRow& row = s->row_of(size_class(4));
  row.slabs = 400;
  row.slab_bytes = 400 * 64 * kKiB;
  row.live_bytes = row.slab_bytes / 4;
  EXPECT_EQ(advice_of(*s).size(), 0u) << "a quarter is live";
  row.live_bytes = row.slab_bytes * 12 / 100;
  EXPECT_TRUE(has(advice_of(*s), "size 64: 12 % of 26,214,400 bytes")) << advice_of(*s).size();
  row.empty_slabs = 350;
  EXPECT_EQ(advice_of(*s).size(), 0u) << "nearly all that is free is anybody's";
  row.empty_slabs = 200;
  row.live_bytes /= 2;
  EXPECT_TRUE(has(advice_of(*s), "size 64: 12 % of 13,107,200 bytes")) << advice_of(*s).size();
  row.empty_slabs = 0;
  s->committed_bytes = 1000 * kMiB;
  EXPECT_EQ(advice_of(*s).size(), 0u) << "little beside all the rest";

  s = calm();
  s->heaps_shown = 2;
  s->heaps[0].index = 3;
  s->heaps[0].allocations = 1'000'000;
  s->heaps[0].frees = 1'000;
  s->heaps[1].index = 7;
  s->heaps[1].allocations = 600'000;
  s->heaps[1].frees = 1'100'000;
  EXPECT_EQ(advice_of(*s).size(), 0u) << "both allocate";
  s->heaps[1].allocations = 10;
  EXPECT_TRUE(has(advice_of(*s), "thread heap 7 freed 1,099,990 objects more than it allocated, thread heap 3 allocated 999,000"));

  s = calm();
  s->budget.hard_limit = 120 * kMiB;
  EXPECT_EQ(advice_of(*s).size(), 0u);
  s->budget.hard_limit = 105 * kMiB;
  EXPECT_TRUE(has(advice_of(*s), "the peak is 95 % of it"));
  s->budget.hits = 5;
  EXPECT_TRUE(has(advice_of(*s), "was met 5 times and reclaiming sufficed"));
  s->budget.refusals = 2;
  s->budget.largest_refused_bytes = 4096;
  EXPECT_TRUE(has(advice_of(*s), "refused 2 requests, the largest of 4,096 bytes"));

  s = calm();
  s->huge_page_mode = "never";
  EXPECT_TRUE(has(advice_of(*s), "the kernel refuses huge pages"));
  s->committed_peak_bytes = 60 * kMiB;
  EXPECT_EQ(advice_of(*s).size(), 0u) << "too small to gain";

  s = calm();
  s->process.swapped_bytes = 5 * kMiB;
  EXPECT_TRUE(has(advice_of(*s), "5,242,880 bytes of the process are swapped out"));
  s->process.swapped_bytes = stats::kUnknown;
  EXPECT_EQ(advice_of(*s).size(), 0u);

  s = calm();
  s->internal_waste_bytes = 20 * kMiB;
  s->sampled_requests = 99;
  EXPECT_EQ(advice_of(*s).size(), 0u) << "too few samples";
  s->sampled_requests = 100;
  EXPECT_TRUE(has(advice_of(*s), "about 25 % of the bytes of small objects were not asked for"));

  s = calm();
  s->misuse.double_frees = 3;
  EXPECT_TRUE(has(advice_of(*s), "3 frees were misuse"));
  s = calm();
  s->heap.system_refusals = 4;
  EXPECT_TRUE(has(advice_of(*s), "the system refused memory for 4 requests"));
}

// An hour as well as a second: never above its room, evenly spread over the whole life, and a spike stays.
TEST(Forms, TimelineHalvesWhenFull) {
  testing::start_heap();
  stats::keep_timeline();
  stats::HeldTimeline timeline;
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    const std::uint64_t now = i * 100;
    timeline.add_if_due({now, 5, i == 37 ? 1000u : 10u, 0});
    if (i % 7 == 0) {
      timeline.add({now + 1, 7, 11, 0});
      ASSERT_EQ(timeline.points().back().milliseconds, now + 1) << "the newest is there";
    }
    ASSERT_LE(timeline.points().size(), stats::kTimelinePoints);
  }
  const std::span<const stats::Point> points = timeline.points();
  EXPECT_GE(points.size(), stats::kTimelinePoints / 2);
  EXPECT_LE(points.front().milliseconds, 6400u);
  EXPECT_EQ(points.back().milliseconds, 19'999u / 7 * 7 * 100 + 1);
  bool has_spike = false;
  for (std::size_t i = 0; i + 1 < points.size(); ++i) {
    const std::uint64_t gap = points[i + 1].milliseconds - points[i].milliseconds;
    EXPECT_GT(gap, 0u);
    EXPECT_LE(gap, 2 * 6400u) << "at " << points[i].milliseconds;
    has_spike = has_spike || points[i].committed_bytes == 1000;
  }
  EXPECT_TRUE(has_spike);
}

TEST(Forms, WhoCannotHoldTheTimelineGetsNone) {
  testing::start_heap();
  stats::keep_timeline();
  stats::HeldTimeline first;
  first.add({1, 2, 3, 4});
  stats::HeldTimeline second;
  EXPECT_EQ(second.points().size(), 0u);
  second.add({5, 6, 7, 8});
  EXPECT_EQ(first.points().back().milliseconds, 1u);
}

}  // namespace
}  // namespace nebula
