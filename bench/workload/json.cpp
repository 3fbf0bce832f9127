// Documents parsed into trees and thrown away, as web services do: a text of nested objects, arrays, strings and
// numbers is written once; each operation parses it into nodes with names and strings of their own (no arena), adds its
// numbers up, and frees the tree. After the cJSON kind of parser, where each node, name and string is one malloc.
#include <charconv>
#include <cstdio>
#include <cstring>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kDocuments = 1'500;
constexpr std::size_t kMostText = 256 * kKib;
constexpr unsigned kDepth = 4;
constexpr std::size_t kChildren = 7;

// Writes a document; what its numbers add up to is kept for the parser to find.
class Writer {
 public:
  Writer(char* text, std::uint64_t seed) : text_(text), random_(seed) {}

  void value(unsigned depth) {
    if (depth > 0) {
      const bool object = depth % 2 == 0;
      add(object ? '{' : '[');
      for (std::size_t i = 0; i < kChildren; ++i) {
        if (i != 0) add(',');
        if (object) {
          string(3, 20);
          add(':');
        }
        value(depth - 1);
      }
      add(object ? '}' : ']');
    } else if (random_.below(2) == 0) {
      string(1, 100);
    } else {
      const std::size_t number = random_.below(1'000'000);
      sum_ += number;
      length_ += static_cast<std::size_t>(std::snprintf(text_ + length_, kMostText - length_, "%zu", number));
    }
  }

  std::uint64_t sum() const { return sum_; }
  std::size_t length() const { return length_; }

 private:
  void add(char part) { text_[length_++] = part; }
  void string(std::size_t least, std::size_t most) {
    add('"');
    for (std::size_t letters = least + random_.below(most - least + 1); letters > 0; --letters)
      text_[length_++] = static_cast<char>('a' + random_.below(26));
    add('"');
  }

  char* text_;
  std::size_t length_ = 0;
  std::uint64_t sum_ = 0;
  Random random_;
};

enum class Kind : std::uint64_t { kObject, kArray, kString, kNumber };

struct Node {
  Kind kind;
  Node* next;
  char* name;
  Node* first_child;
  char* string;
  std::uint64_t number;
};

template <class Calls>
class Parser {
 public:
  Parser(const char* text, std::size_t length) : at_(text), end_(text + length) {}

  Node* value() {
    auto* const node = static_cast<Node*>(Calls::allocate(sizeof(Node)));
    *node = {};
    if (*at_ == '{' || *at_ == '[') {
      node->kind = *at_ == '{' ? Kind::kObject : Kind::kArray;
      children(*node);
    } else if (*at_ == '"') {
      node->kind = Kind::kString;
      node->string = string();
    } else {
      node->kind = Kind::kNumber;
      at_ = std::from_chars(at_, end_, node->number).ptr;
    }
    return node;
  }

 private:
  void children(Node& parent) {
    Node** link = &parent.first_child;
    do {
      ++at_;  // the bracket or comma
      char* name = nullptr;
      if (parent.kind == Kind::kObject) {
        name = string();
        ++at_;  // the colon
      }
      *link = value();
      (*link)->name = name;
      link = &(*link)->next;
    } while (*at_ == ',');
    ++at_;
  }

  char* string() {
    const char* const begin = at_ + 1;
    at_ = static_cast<const char*>(std::memchr(begin, '"', static_cast<std::size_t>(end_ - begin))) + 1;
    const auto length = static_cast<std::size_t>(at_ - 1 - begin);
    auto* const copy = static_cast<char*>(Calls::allocate(length + 1));
    std::memcpy(copy, begin, length);
    copy[length] = '\0';
    return copy;
  }

  const char* at_;
  const char* end_;
};

std::uint64_t sum_of(const Node* node) {
  std::uint64_t sum = 0;
  for (; node; node = node->next) sum += node->number + sum_of(node->first_child);
  return sum;
}

template <class Calls>
void drop(Node* node) {
  while (node) {
    Node* const next = node->next;
    drop<Calls>(node->first_child);
    if (node->name) Calls::release(node->name);
    if (node->string) Calls::release(node->string);
    Calls::release(node);
    node = next;
  }
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t documents = options.scaled(kDocuments);
  Array<char> text(kMostText);
  Writer writer(&text[0], options.seed());
  writer.value(kDepth);

  report.start_clock();
  run_threads(threads, [&](unsigned) {
    for (std::size_t i = 0; i < documents; ++i) {
      Node* const root = Parser<Calls>(&text[0], writer.length()).value();
      if (sum_of(root) != writer.sum()) fail("the numbers of a document add up wrongly: a node was overwritten");
      drop<Calls>(root);
    }
  });
  report.stop_clock(threads * documents);
}

constexpr Variant kVariants[] = {
    {"json-1", "--threads 1"}, {"json-2", "--threads 2"}, {"json-8", "--threads 8 --scale 0.25"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "json",
                .threads = {"threads", 1, 1, kMostThreads},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
