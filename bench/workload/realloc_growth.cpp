// Many buffers grown in turn, as a server reading from many connections does: each realloc finds other buffers behind
// the one it grows. Buffers grow by a half from `first` to `last` bytes, the new part is written, then all are freed.
// After the growth of network buffers in Evans, "A scalable concurrent malloc(3) implementation for FreeBSD" (BSDCan
// 2006). An operation is one realloc.
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kMostBuffers = 10'000;

struct Buffer {
  std::uint8_t* bytes;
  std::size_t size;
};

// The tag is the size: what was there before must have moved along.
template <class Calls>
void grow(Buffer& buffer, std::size_t size) {
  const std::size_t before = buffer.size;
  if (before != 0) check(buffer.bytes, before);
  buffer.bytes = static_cast<std::uint8_t*>(Calls::reallocate(buffer.bytes, size));
  if (before != 0) check(buffer.bytes, before);
  mark(buffer.bytes, size);
  for (std::size_t i = before + 8; i < size; i += 64) buffer.bytes[i] = 1;
  buffer.size = size;
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t buffers = options.setting("buffers");
  const std::size_t first = options.setting("first");
  const std::size_t last = options.setting("last");
  const std::size_t rounds = options.scaled(options.setting("rounds"));
  Array<Buffer> tables(threads * buffers);

  std::size_t steps = 1;
  for (std::size_t size = first; size < last; size += size / 2) ++steps;

  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    Buffer* const mine = &tables[index * buffers];
    for (std::size_t round = 0; round < rounds; ++round) {
      for (std::size_t size = first, step = 0; step < steps; size += size / 2, ++step)
        for (std::size_t i = 0; i < buffers; ++i) grow<Calls>(mine[i], size);
      for (std::size_t i = 0; i < buffers; ++i) {
        release_marked<Calls>(mine[i].bytes, mine[i].size);
        mine[i] = {};
      }
    }
  });
  report.stop_clock(threads * rounds * buffers * steps);
  report.phase("all freed");
}

constexpr Variant kVariants[] = {
    {"realloc-small-1", "--threads 1 --buffers 1000 --first 16 --last 4096 --rounds 200"},
    {"realloc-small-2", "--threads 2 --buffers 1000 --first 16 --last 4096 --rounds 200"},
    {"realloc-medium-1", "--threads 1 --buffers 100 --first 1024 --last 1048576 --rounds 12"},
    {"realloc-large-1", "--threads 1 --buffers 4 --first 1048576 --last 67108864 --rounds 2"}};
constexpr Setting kSettings[] = {{"buffers", 1000, 1, kMostBuffers},
                                 {"first", 16, 16, 1 << 30},
                                 {"last", 4096, 16, 1 << 30},
                                 {"rounds", 200, 1, 1'000'000}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "realloc-growth",
                .threads = {"threads", 1, 1, kMostThreads},
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
