// A server: each thread replaces random objects of its table, then starts a successor that takes the table over, and
// ends; so most objects are freed by another thread than the one that allocated them. After Larson and Krishnan,
// "Memory allocation for long-running server applications" (ISMM 1998), with the sizes of its customary runs.
#include <semaphore.h>

#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kObjects = 5000;    // a table
constexpr std::size_t kRound = 250'000;   // replacements in a thread's life
constexpr std::size_t kGenerations = 40;  // threads, one after the other, on a table
constexpr std::size_t kLeast = 8;
constexpr std::size_t kMost = 1000;

template <class Calls>
struct Table {
  std::array<void*, kObjects> objects;
  std::size_t generation;
  std::size_t generations;
  Random random{0};
  pthread_t owner;
  sem_t* finished;

  void replace(std::size_t i) {
    release_marked<Calls>(objects[i], i);
    objects[i] = allocate_marked<Calls>(kLeast + random.below(kMost - kLeast + 1), i);
  }

  static void* live(void* argument) {
    Table& table = *static_cast<Table*>(argument);
    const pthread_t predecessor = table.owner;
    table.owner = ::pthread_self();
    for (std::size_t i = 0; i < kRound; ++i) table.replace(table.random.below(kObjects));
    if (table.generation != 0) join_thread(predecessor);
    if (++table.generation == table.generations)
      ::sem_post(table.finished);
    else
      start_thread(live, &table);
    return nullptr;
  }
};

template <class Calls>
void run(const Options& options, Report& report) {
  Array<Table<Calls>> tables(options.threads());
  const std::size_t generations = options.scaled(kGenerations);
  sem_t finished;
  ::sem_init(&finished, 0, 0);
  for (unsigned t = 0; t < options.threads(); ++t) {
    Table<Calls>& table = tables[t];
    table.random = Random(options.seed() + t);
    table.generations = generations;
    table.finished = &finished;
    for (std::size_t i = 0; i < kObjects; ++i) table.objects[i] = allocate_marked<Calls>(kLeast, i);
  }

  report.start_clock();
  for (auto& table : tables) start_thread(Table<Calls>::live, &table);
  for (unsigned t = 0; t < options.threads(); ++t) ::sem_wait(&finished);
  report.stop_clock(options.threads() * generations * kRound);
  for (auto& table : tables) join_thread(table.owner);
}

constexpr Variant kVariants[] = {
    {"larson-1", "--threads 1"}, {"larson-2", "--threads 2"}, {"larson-8", "--threads 8 --scale 0.25"}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "larson",
                .threads = {"threads", 2, 1, kMostThreads},
                .variants = kVariants,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
