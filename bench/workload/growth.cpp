// A heap that breathes: objects of mixed sizes grow to one or four million, shrink at random to a tenth, grow to half,
// and go. What stays resident after each breath is reported. After the peak-and-trough phases of long-running programs
// in Johnstone and Wilson, "The memory fragmentation problem: solved?" (ISMM 1998).
#include <utility>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr unsigned kFirst = 4, kLast = 8;  // powers of two: 16 to 255 bytes

template <class Calls>
class Heap {
 public:
  Heap(std::size_t most, std::uint64_t seed) : objects_(most), random_(seed) {}

  std::size_t grow(std::size_t count) {
    const std::size_t before = count_;
    for (; count_ < count; ++count_) {
      const std::uint64_t tag = next_tag_++;
      objects_[count_] = {allocate_marked<Calls>(random_.skewed(kFirst, kLast), tag), tag};
    }
    return count_ - before;
  }

  void shrink(std::size_t count) {
    while (count_ > count) {
      std::swap(objects_[random_.below(count_)], objects_[count_ - 1]);
      --count_;
      release_marked<Calls>(objects_[count_].memory, objects_[count_].tag);
    }
  }

 private:
  struct Object {
    void* memory;
    std::uint64_t tag;
  };

  Array<Object> objects_;
  std::size_t count_ = 0;
  std::uint64_t next_tag_ = 1;
  Random random_;
};

template <class Calls>
void run(const Options& options, Report& report) {
  const std::size_t most = options.setting("objects");
  const std::size_t breaths = options.scaled(options.setting("breaths"));
  Heap<Calls> heap(most, options.seed());
  report.phase("start");
  for (std::size_t breath = 0; breath < breaths; ++breath) {
    const bool last = breath == breaths - 1;
    report.start_clock();
    std::size_t allocations = heap.grow(most);
    if (last) report.phase("full");
    heap.shrink(most / 10);
    if (last) report.phase("tenth");
    allocations += heap.grow(most / 2);
    if (last) report.phase("half");
    heap.shrink(0);
    report.stop_clock(allocations);
  }
  report.phase("all freed");
}

constexpr Variant kVariants[] = {{"growth-1m", "--objects 1000000 --breaths 1"},
                                 {"growth-4m", "--objects 4000000 --breaths 1"}};
constexpr Setting kSettings[] = {{"objects", 1'000'000, 10, 64'000'000}, {"breaths", 1, 1, 1000}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "growth",
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
