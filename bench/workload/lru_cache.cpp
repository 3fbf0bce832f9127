// A cache of values under a budget of bytes, as memcached and redis keep: keys are asked for with a skew, a miss makes
// a value of 100 bytes to 10 KB and evicts the longest unused ones until it fits. Half-way the sizes shift, which is
// what fragments such caches. After the load of Rumble, Kejriwal and Ousterhout, "Log-structured memory for DRAM-based
// storage" (FAST 2014), section 2. An operation is one request; about half of them miss.
#include <cstring>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kBudget = 48 * kMib;
constexpr std::size_t kKeys = 40'000;
constexpr std::size_t kRequests = 1'600'000;
constexpr std::size_t kBuckets = std::size_t{1} << 16;
constexpr std::size_t kLeast = 100;
constexpr std::size_t kMost = 10'000;

struct Entry {
  Entry* next;  // in the bucket
  Entry* newer;
  Entry* older;
  std::uint64_t key;
  char* value;
  std::size_t size;
};

template <class Calls>
class Cache {
 public:
  bool find(std::uint64_t key) {
    for (Entry* entry = bucket_of(key); entry; entry = entry->next) {
      if (entry->key != key) continue;
      check(entry->value, key);
      unlink(*entry);
      make_newest(*entry);
      return true;
    }
    return false;
  }

  void insert(std::uint64_t key, std::size_t size) {
    while (used_ + size > kBudget) evict();
    auto* const entry = static_cast<Entry*>(Calls::allocate(sizeof(Entry)));
    auto* const value = static_cast<char*>(Calls::allocate(size));
    std::memset(value, 'v', size);
    mark(value, key);
    *entry = {bucket_of(key), nullptr, nullptr, key, value, size};
    bucket_of(key) = entry;
    make_newest(*entry);
    used_ += size;
  }

  void clear() {
    while (ends_.older != &ends_) evict();
  }

 private:
  Entry*& bucket_of(std::uint64_t key) { return buckets_[key % kBuckets]; }

  // `ends_` is between the newest, its `older`, and the oldest, its `newer`.
  void make_newest(Entry& entry) {
    entry.newer = &ends_;
    entry.older = ends_.older;
    ends_.older->newer = &entry;
    ends_.older = &entry;
  }
  static void unlink(Entry& entry) {
    entry.newer->older = entry.older;
    entry.older->newer = entry.newer;
  }

  void evict() {
    Entry* const oldest = ends_.newer;
    Entry** link = &bucket_of(oldest->key);
    while (*link != oldest) link = &(*link)->next;
    *link = oldest->next;
    unlink(*oldest);
    used_ -= oldest->size;
    release_marked<Calls>(oldest->value, oldest->key);
    Calls::release(oldest);
  }

  Array<Entry*> buckets_{kBuckets};
  Entry ends_{nullptr, &ends_, &ends_, 0, nullptr, 0};
  std::size_t used_ = 0;
};

template <class Calls>
void serve(Cache<Calls>& cache, Random& random, std::size_t requests, std::size_t least) {
  for (std::size_t i = 0; i < requests; ++i) {
    const std::uint64_t key = random.below(1 + random.below(kKeys));
    const std::size_t share = random.below(kMost - least + 1);
    if (!cache.find(key)) cache.insert(key, least + share * share / (kMost - least));
  }
}

template <class Calls>
void run(const Options& options, Report& report) {
  const std::size_t half = options.scaled(kRequests / 2);
  Cache<Calls> cache;
  Random random(options.seed());
  report.start_clock();
  serve(cache, random, half, kLeast);
  report.phase("small values");
  serve(cache, random, half, kMost / 2);
  report.stop_clock(2 * half);
  report.phase("large values");
  cache.clear();
  report.phase("all freed");
}

constexpr Variant kVariants[] = {{"lru-cache", ""}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "lru-cache", .variants = kVariants, .plain = run<PlainCalls>, .timed = run<TimedCalls>});
}
