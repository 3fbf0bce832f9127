// Text as C++ programs handle it: lines are built word by word in strings that grow, kept in a vector that grows with
// them, split into short strings again and joined. After the string and vector loads that dominate the allocation
// profile Google reports for its fleet (Hunter et al., "Beyond malloc efficiency to fleet efficiency", OSDI 2021).
// An operation is a line with all its words.
#include <string>
#include <vector>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kLines = 2'000;  // of a document
constexpr std::size_t kDocuments = 40;
constexpr std::size_t kMostWords = 40;
constexpr std::size_t kMostLetters = 30;  // beyond what a string holds without the heap

template <class Calls>
using String = std::basic_string<char, std::char_traits<char>, Allocator<char, Calls>>;
template <class T, class Calls>
using Vector = std::vector<T, Allocator<T, Calls>>;

template <class Calls>
String<Calls> build_line(Random& random) {
  String<Calls> line;
  for (std::size_t words = 1 + random.below(kMostWords); words > 0; --words) {
    for (std::size_t letters = 1 + random.below(kMostLetters); letters > 0; --letters)
      line.push_back(static_cast<char>('a' + letters % 26));
    line += ' ';
  }
  return line;
}

template <class Calls>
Vector<String<Calls>, Calls> split(const String<Calls>& line) {
  Vector<String<Calls>, Calls> words;
  for (std::size_t begin = 0; begin < line.size();) {
    const std::size_t end = line.find(' ', begin);
    words.emplace_back(line, begin, end - begin);
    begin = end + 1;
  }
  return words;
}

template <class Calls>
void edit_document(Random& random) {
  Vector<String<Calls>, Calls> lines;
  std::size_t size = 0;
  for (std::size_t i = 0; i < kLines; ++i) {
    lines.push_back(build_line<Calls>(random));
    size += lines.back().size();
  }
  String<Calls> joined;
  for (const auto& line : lines)
    for (const auto& word : split<Calls>(line)) (joined += word) += '\n';
  if (joined.size() != size) fail("of %zu letters, %zu are left after splitting and joining", size, joined.size());
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t documents = options.scaled(kDocuments);
  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    Random random(options.seed() + index);
    for (std::size_t i = 0; i < documents; ++i) edit_document<Calls>(random);
  });
  report.stop_clock(threads * documents * kLines);
}

constexpr Variant kVariants[] = {
    {"strings-1", "--threads 1"}, {"strings-2", "--threads 2"}, {"strings-8", "--threads 8 --scale 0.25"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "strings",
                .threads = {"threads", 1, 1, kMostThreads},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
