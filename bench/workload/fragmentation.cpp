// Sizes that shift: each phase fills the heap with objects of its own range of sizes up to the same number of live
// bytes, then frees nine of ten at random. What stays resident when a tenth is alive is the cost of fragmentation; the
// next phase, with larger objects, shows whether the holes serve anyone. After the phase behaviour described by
// Wilson et al., "Dynamic storage allocation: a survey and critical review" (1995), and Powers et al., "Mesh" (2019).
#include <utility>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kLiveBytes = 64 * kMib;
constexpr std::size_t kSurvivors = 10;  // one in so many

struct Phase {
  std::size_t least, most;  // bytes of an object
  const char* full;
  const char* tenth;
};
constexpr Phase kPhases[] = {{16, 64, "16-64 full", "16-64 tenth"},
                             {64, 256, "64-256 full", "64-256 tenth"},
                             {256, 1024, "256-1k full", "256-1k tenth"},
                             {kKib, 4 * kKib, "1k-4k full", "1k-4k tenth"},
                             {4 * kKib, 64 * kKib, "4k-64k full", "4k-64k tenth"}};
constexpr std::size_t kMostObjects = kLiveBytes / 32;

struct Place {
  void* object;
  std::size_t size;
};

template <class Calls>
class Heap {
 public:
  explicit Heap(std::uint64_t seed) : random_(seed) {}

  std::size_t fill(const Phase& phase) {
    std::size_t allocations = 0;
    for (; bytes_ < kLiveBytes && count_ < kMostObjects; ++allocations) {
      const std::size_t size = phase.least + random_.below(phase.most - phase.least + 1);
      places_[count_++] = {use_pages(allocate_marked<Calls>(size, size), size, kPage), size};
      bytes_ += size;
    }
    return allocations;
  }

  void thin(std::size_t survivors) {
    while (count_ > survivors) {
      std::swap(places_[random_.below(count_)], places_[count_ - 1]);
      const Place& place = places_[--count_];
      release_marked<Calls>(place.object, place.size);
      bytes_ -= place.size;
    }
  }

  std::size_t count() const { return count_; }

 private:
  Array<Place> places_{kMostObjects};
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
  Random random_;
};

template <class Calls>
void run(const Options& options, Report& report) {
  Heap<Calls> heap(options.seed());
  report.phase("start");
  for (const Phase& phase : kPhases) {
    report.start_clock();
    const std::size_t allocations = heap.fill(phase);
    report.stop_clock(allocations);
    report.phase(phase.full);
    report.start_clock();
    heap.thin(heap.count() / kSurvivors);
    report.stop_clock(0);
    report.phase(phase.tenth);
  }
  heap.thin(0);
  report.phase("all freed");
}

constexpr Variant kVariants[] = {{"fragmentation", ""}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "fragmentation", .variants = kVariants, .plain = run<PlainCalls>, .timed = run<TimedCalls>});
}
