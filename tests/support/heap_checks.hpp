// What must hold of the heap whenever nobody is at work in it: every book that is kept of the same thing says the same.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace nebula::testing {

// The heap as preload/ starts it, without environment, fork and report. Any number of times.
void start_heap();

// Before the first start_heap: that many node heaps, as on a machine with so many nodes (TEST_NODES does the same for
// a whole program, and "machine" there means the nodes there are). Each thread then runs on the node that it says, or wanders from one to the next.
void pretend_nodes(unsigned count);
inline constexpr unsigned kWandering = ~0u;
void run_on_node(unsigned node);
// A thread of its own on that node, from beginning to end; its pools are empty then.
void on_node(unsigned node, const std::function<void()>& work);

// Whether size classes are to be moved between routes in the middle of everything, as NEBULA_ROUTE=auto moves a few of them now and
// then (TEST_ROUTE=moving); and one such move, which `number` chooses.
[[nodiscard]] bool classes_move();
void move_a_class(std::uint64_t number);

// What the heap's books say is in the program's hands: small by counts of calls, large by the class map.
struct Live {
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;
  bool operator==(const Live&) const = default;
};
[[nodiscard]] Live live();

// In which a part takes so much of what is another's, and no more; the number of the one that is now, and the next one's beginning.
[[nodiscard]] std::uint64_t window_beside();
void await_window_beside();

// The first pair of books that differ, in words; empty when all agree. No other thread may use the heap meanwhile.
[[nodiscard]] std::string inconsistency();

// Reproducible bits for tests that draw by themselves: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
// Generators" (2014), its SplitMix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t end) { return next() % end; }
  // Most sizes small, a few up to 4 MiB: as programs ask for them, and so that large ones do not take all the time.
  std::size_t size();

 private:
  std::uint64_t state_;
};

// Writes a pattern that depends on address and size; says whether it is still there.
void fill(void* object, std::size_t size);
[[nodiscard]] bool is_filled(const void* object, std::size_t size);
// The same for the start of an object that was filled elsewhere, as realloc leaves it.
void fill_as(void* object, std::size_t size, std::uint64_t key);
[[nodiscard]] bool is_filled_as(const void* object, std::size_t size, std::uint64_t key);

}  // namespace nebula::testing
