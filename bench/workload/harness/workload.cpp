#include "workload.hpp"

#include <cstdio>

namespace workload {

int start(int count, char** words, const Program& program) {
  const Options options(program, {words + 1, static_cast<std::size_t>(count - 1)});
  if (options.list()) {
    for (const Variant& variant : program.variants) std::printf("%s\t%s\n", variant.name, variant.arguments);
    return 0;
  }
  Report report;
  (options.latency() ? program.timed : program.plain)(options, report);
  report.print(options.latency());
  return 0;
}

}  // namespace workload
