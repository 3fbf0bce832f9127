// Nodes of one size by operator new, linked, walked and destroyed: binary trees built from the root and torn down from
// the leaves while a large one stays alive, then a chained hash table filled, searched and emptied in another order.
// The trees are those of Boehm's GCBench and of the "binary-trees" benchmark game; the table is what compilers and
// databases do.
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr unsigned kLongLivedDepth = 18;
constexpr unsigned kDepth = 12;
constexpr std::size_t kTrees = 1200;
constexpr std::size_t kKeys = 150'000;
constexpr std::size_t kTables = 4;
constexpr std::size_t kBuckets = 1 << 17;

struct Branch {
  Branch* left;
  Branch* right;
  std::uint64_t depth;
};

template <class Calls>
Branch* grow(unsigned depth) {
  auto* const branch = static_cast<Branch*>(Calls::create(sizeof(Branch)));
  *branch = {depth ? grow<Calls>(depth - 1) : nullptr, depth ? grow<Calls>(depth - 1) : nullptr, depth};
  return branch;
}

std::size_t walk(const Branch* branch) { return branch ? 1 + walk(branch->left) + walk(branch->right) : 0; }

template <class Calls>
void fell(Branch* branch, unsigned depth) {
  if (branch->depth != depth) fail("the tree node at %p was overwritten", static_cast<void*>(branch));
  if (branch->left) {
    fell<Calls>(branch->left, depth - 1);
    fell<Calls>(branch->right, depth - 1);
  }
  Calls::destroy(branch, sizeof(Branch));
}

constexpr std::size_t nodes_of(unsigned depth) { return (std::size_t{2} << depth) - 1; }

template <class Calls>
void trees(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    Branch* const tree = grow<Calls>(kDepth);
    if (walk(tree) != nodes_of(kDepth)) fail("a tree lost nodes");
    fell<Calls>(tree, kDepth);
  }
}

struct Entry {
  Entry* next;
  std::uint64_t key;
  std::uint64_t value[3];
};

// Keys are multiples of an odd number, so that any order can be asked for without a list of them.
template <class Calls>
class Table {
 public:
  void insert(std::uint64_t key) {
    Entry*& bucket = bucket_of(key);
    auto* const entry = static_cast<Entry*>(Calls::create(sizeof(Entry)));
    *entry = {bucket, key, {key, key, key}};
    bucket = entry;
  }

  void remove(std::uint64_t key) {
    Entry** link = &bucket_of(key);
    while (*link && (*link)->key != key) link = &(*link)->next;
    Entry* const entry = *link;
    if (!entry || entry->value[0] != key) fail("key %#" PRIx64 " is lost", key);
    *link = entry->next;
    Calls::destroy(entry, sizeof(Entry));
  }

 private:
  Entry*& bucket_of(std::uint64_t key) { return buckets_[key * 0x9e3779b97f4a7c15u >> 47]; }

  Array<Entry*> buckets_{kBuckets};
};

template <class Calls>
void tables(std::size_t count) {
  constexpr std::uint64_t kStep = 1'000'003;  // coprime to kKeys: another order than that of insertion
  Table<Calls> table;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::uint64_t key = 0; key < kKeys; ++key) table.insert(key);
    for (std::uint64_t n = 0; n < kKeys; ++n) table.remove(n * kStep % kKeys);
  }
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t tree_count = options.scaled(kTrees);
  const std::size_t table_count = options.scaled(kTables);

  report.start_clock();
  Branch* const long_lived = grow<Calls>(kLongLivedDepth);
  run_threads(threads, [&](unsigned) {
    trees<Calls>(tree_count);
    tables<Calls>(table_count);
  });
  fell<Calls>(long_lived, kLongLivedDepth);
  report.stop_clock(nodes_of(kLongLivedDepth) + threads * (tree_count * nodes_of(kDepth) + table_count * kKeys));
}

constexpr Variant kVariants[] = {
    {"trees-1", "--threads 1"}, {"trees-2", "--threads 2"}, {"trees-8", "--threads 8 --scale 0.25"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "trees",
                .threads = {"threads", 1, 1, kMostThreads},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
