// Swings: a buffer of pointers fills with thousands of objects whose sizes are skewed to small ones, then half of it is
// freed. --kind 6: the oldest quarter in order of age and the newest quarter backwards, objects up to 1000 bytes; so
// runs of one size follow each other. --kind 8: any half in random order, and sizes mixed from one to the next.
// After sh6bench and sh8bench of MicroQuill SmartHeap.
#include <algorithm>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kCapacity = 40'000;
constexpr std::size_t kSwings6 = 700;
constexpr std::size_t kSwings8 = 350;
constexpr std::size_t kMostSize6 = 1000;

// Each size from 8 to kMostSize6 in turn, in runs the longer the smaller it is.
class Runs {
 public:
  std::size_t next() {
    if (left_ == 0) {
      size_ = size_ >= kMostSize6 ? 8 : size_ + 1 + size_ / 16;
      left_ = 1 + 4000 / size_;
    }
    --left_;
    return size_;
  }

 private:
  std::size_t size_ = kMostSize6;
  std::size_t left_ = 0;
};

struct Object {
  void* memory;
  std::uint64_t tag;
};

// Tags count up: the buffer is moved and shuffled, so places say nothing.
template <class Calls>
class Buffer {
 public:
  explicit Buffer(Object* objects) : objects_(objects) {}

  void add(std::size_t size) {
    const std::uint64_t tag = next_tag_++;
    objects_[used_++] = {allocate_marked<Calls>(size, tag), tag};
  }

  void free_oldest(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) release(objects_[i]);
    std::copy(objects_ + count, objects_ + used_, objects_);
    used_ -= count;
  }

  void free_newest() { release(objects_[--used_]); }

  void free_any(Random& random) {
    std::swap(objects_[random.below(used_)], objects_[used_ - 1]);
    free_newest();
  }

  std::size_t used() const { return used_; }

 private:
  static void release(const Object& object) { release_marked<Calls>(object.memory, object.tag); }

  Object* objects_;
  std::size_t used_ = 0;
  std::uint64_t next_tag_ = 0;
};

template <class Calls>
void swing6(Buffer<Calls> buffer, std::size_t swings) {
  Runs runs;
  for (std::size_t swing = 0; swing < swings; ++swing) {
    while (buffer.used() < kCapacity) buffer.add(runs.next());
    buffer.free_oldest(kCapacity / 4);
    while (buffer.used() > kCapacity / 2) buffer.free_newest();
  }
  buffer.free_oldest(buffer.used());
}

template <class Calls>
void swing8(Buffer<Calls> buffer, std::size_t swings, Random random) {
  for (std::size_t swing = 0; swing < swings; ++swing) {
    while (buffer.used() < kCapacity) buffer.add(random.skewed(3, random.below(16) == 0 ? 12 : 8));
    while (buffer.used() > kCapacity / 2) buffer.free_any(random);
  }
  buffer.free_oldest(buffer.used());
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const bool sixth = options.setting("kind") == 6;
  const std::size_t swings = options.scaled(sixth ? kSwings6 : kSwings8);
  Array<Object> objects(threads * kCapacity);

  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    const Buffer<Calls> buffer(&objects[index * kCapacity]);
    if (sixth)
      swing6(buffer, swings);
    else
      swing8(buffer, swings, Random(options.seed() + index));
  });
  report.stop_clock(threads * (swings + 1) * (kCapacity / 2));
}

constexpr Variant kVariants[] = {{"sh6-1", "--kind 6 --threads 1 --scale 1.5"},
                                 {"sh6-2", "--kind 6 --threads 2"},
                                 {"sh8-1", "--kind 8 --threads 1 --scale 2"},
                                 {"sh8-2", "--kind 8 --threads 2 --scale 0.75"},
                                 {"sh8-8", "--kind 8 --threads 8 --scale 0.125"}};
constexpr Setting kSettings[] = {{"kind", 6, 6, 8, 2}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "shbench",
                .threads = {"threads", 1, 1, kMostThreads},
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
