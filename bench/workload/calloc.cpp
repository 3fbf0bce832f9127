// Zeroed matrices, as numerical programs and interpreters take them: a dozen of several sizes are alive, one after the
// other is replaced, checked to be zero at scattered places, its diagonal and one row are written. An allocator that
// knows which pages the system just zeroed need not zero them again. After the calloc path discussed in Lea's "A memory
// allocator" (2000).
#include "harness/workload.hpp"

namespace workload {
namespace {

constexpr std::size_t kLive = 12;
constexpr std::size_t kStride = 61;  // elements between two looks

struct Matrix {
  double* elements;
  std::size_t rows;
};

template <class Calls>
void replace(Matrix& matrix, std::size_t rows) {
  if (matrix.elements) {
    if (matrix.elements[0] != static_cast<double>(matrix.rows)) fail("a matrix was overwritten");
    Calls::release(matrix.elements);
  }
  auto* const elements = static_cast<double*>(Calls::allocate_zeroed(rows * rows, sizeof(double)));
  for (std::size_t i = 0; i < rows * rows; i += kStride)
    if (elements[i] != 0) fail("element %zu of a new matrix of %zu rows is not zero", i, rows);
  for (std::size_t i = 0; i < rows; ++i) {
    elements[i] = 1;
    elements[i * rows + i] = static_cast<double>(rows);
  }
  matrix = {elements, rows};
}

template <class Calls>
void run(const Options& options, Report& report) {
  const unsigned threads = options.threads();
  const std::size_t least = options.setting("least");
  const std::size_t most = options.setting("most");
  const std::size_t replacements = options.scaled(options.setting("replacements"));

  report.start_clock();
  run_threads(threads, [&](unsigned index) {
    Random random(options.seed() + index);
    std::array<Matrix, kLive> matrices{};
    for (std::size_t i = 0; i < replacements; ++i)
      replace<Calls>(matrices[i % kLive], least + random.below(most - least + 1));
    for (const Matrix& matrix : matrices)
      if (matrix.elements) Calls::release(matrix.elements);
  });
  report.stop_clock(threads * replacements);
}

constexpr Variant kVariants[] = {
    {"calloc-small-1", "--threads 1 --least 2 --most 16 --replacements 6000000"},
    {"calloc-medium-1", "--threads 1 --least 16 --most 128 --replacements 150000"},
    {"calloc-large-1", "--threads 1 --least 256 --most 1024 --replacements 500"},
    {"calloc-medium-2", "--threads 2 --least 16 --most 64 --replacements 400000"}};
constexpr Setting kSettings[] = {
    {"least", 16, 1, 8192}, {"most", 128, 1, 8192}, {"replacements", 150'000, 1, 1'000'000'000}};

}  // namespace
}  // namespace workload

int main(int count, char** words) {
  using namespace workload;
  return start(count, words,
               {.name = "calloc",
                .threads = {"threads", 1, 1, kMostThreads},
                .variants = kVariants,
                .settings = kSettings,
                .plain = run<PlainCalls>,
                .timed = run<TimedCalls>});
}
