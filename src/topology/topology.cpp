#include "topology/topology.hpp"

#include <cstring>
#include <string_view>

#include "os/process.hpp"

namespace nebula {

constinit Topology topology;

namespace {

constexpr std::size_t kFileBytes = 4096;  // /sys gives no more
constinit char file_room[kFileBytes];     // of the one thread that reads
constexpr unsigned kNotInTable = Topology::kNodesMost;

// FOLDER/NAME or FOLDER/nodeNUMBER/NAME; empty where it cannot be read or the path is too long.
constexpr unsigned kNoNumber = ~0u;
std::string_view read_in(const char* folder, unsigned number, std::string_view name) {
  char path[512];
  std::size_t length = 0;
  const auto add = [&](std::string_view words) {
    for (const char letter : words)
      if (length < sizeof path - 1) path[length++] = letter;
  };
  add(folder);
  if (number != kNoNumber) {
    char digits[10];
    std::size_t first = sizeof digits;
    do {
      digits[--first] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number != 0);
    add("/node");
    add({digits + first, sizeof digits - first});
  }
  add("/");
  add(name);
  if (length == sizeof path - 1) return {};
  path[length] = '\0';
  return {file_room, os::read_file(path, file_room)};
}

// The next number in `text`, taken off its front; false at a letter that is no digit, or the end.
bool take_number(std::string_view& text, unsigned& number) {
  std::size_t digits = 0;
  number = 0;
  for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits)
    if (number < 1'000'000) number = number * 10 + static_cast<unsigned>(text[digits] - '0');
  text.remove_prefix(digits);
  return digits != 0;
}

// Calls visit(number) for each member of a list as the kernel writes them, "0-2,8"; stops where it is malformed. Members
// at or above `end` are left out.
template <class Visitor>
void for_each_in_list(std::string_view text, unsigned end, Visitor visit) {
  for (;;) {
    unsigned first = 0;
    if (!take_number(text, first)) return;
    unsigned last = first;
    if (!text.empty() && text.front() == '-') {
      text.remove_prefix(1);
      if (!take_number(text, last)) return;
    }
    for (; first <= last && first < end; ++first) visit(first);
    if (text.empty() || text.front() != ',') return;
    text.remove_prefix(1);
  }
}

NodeSet read_nodes(const char* folder, const char* name) {
  NodeSet nodes;
  for_each_in_list(read_in(folder, kNoNumber, name), NodeSet::kEnd, [&](unsigned node) { nodes.add(node); });
  return nodes;
}

}  // namespace

void Topology::read(const char* folder, const NodeSet& allowed) {
  std::memset(distances_, 0, sizeof distances_);
  std::memset(places_, 0, sizeof places_);
  count_ = 0;
  online_ = read_nodes(folder, "online");
  if (online_.is_empty()) online_ = allowed;
  usable_ = online_ & allowed;
  if (const NodeSet with_memory = read_nodes(folder, "has_memory"); !with_memory.is_empty()) usable_ = usable_ & with_memory;
  if (usable_.is_empty()) usable_ = allowed;
  for (unsigned node = online_.next(0); node != NodeSet::kEnd && count_ < kNodesMost; node = online_.next(node + 1))
    numbers_[count_++] = static_cast<std::uint16_t>(node);
  for (unsigned i = 0; i < count_; ++i) {
    // One column for each online node, in rising order.
    std::string_view row = read_in(folder, numbers_[i], "distance");
    for (unsigned j = 0; j < count_; ++j) {
      unsigned distance = 0;
      while (!row.empty() && row.front() == ' ') row.remove_prefix(1);
      if (!take_number(row, distance) || distance == 0) distance = i == j ? kLocalDistance : kUnknownDistance;
      distances_[i][j] = static_cast<std::uint8_t>(distance < 255 ? distance : 255);
    }
    for_each_in_list(read_in(folder, numbers_[i], "cpulist"), kProcessorsMost,
                     [&](unsigned processor) { places_[processor] = static_cast<std::uint8_t>(i + 1); });
  }
}

unsigned Topology::place_of(unsigned node) const {
  for (unsigned i = 0; i < count_; ++i)
    if (numbers_[i] == node) return i;
  return kNotInTable;
}

unsigned Topology::distance(unsigned from, unsigned to) const {
  const unsigned i = place_of(from);
  const unsigned j = place_of(to);
  if (i == kNotInTable || j == kNotInTable) return from == to ? kLocalDistance : kUnknownDistance;
  return distances_[i][j];
}

unsigned Topology::nearest_usable(unsigned node) const {
  if (usable_.has(node)) return node;
  unsigned best = usable_.next(0);
  for (unsigned other = best; other != NodeSet::kEnd; other = usable_.next(other + 1))
    if (distance(node, other) < distance(node, best)) best = other;
  return best;
}

unsigned Topology::by_distance(unsigned node, std::span<std::uint16_t> order) const {
  unsigned count = 0;
  for (unsigned other = usable_.next(0); other != NodeSet::kEnd && count < order.size(); other = usable_.next(other + 1)) {
    const unsigned distance_here = distance(node, other);
    unsigned at = count++;
    for (; at > 0 && distance(node, order[at - 1]) > distance_here; --at) order[at] = order[at - 1];
    order[at] = static_cast<std::uint16_t>(other);
  }
  return count;
}

unsigned Topology::node_of_processor(unsigned processor) const {
  if (processor >= kProcessorsMost || places_[processor] == 0) return NodeSet::kEnd;
  return numbers_[places_[processor] - 1];
}

}  // namespace nebula
