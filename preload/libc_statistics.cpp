// malloc.h beyond allocation: the statistics that glibc offers, filled from the same totals as the report.
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#include <climits>

#include "heap/heap.hpp"
#include "preload/interpose.hpp"
#include "report/report.hpp"
#include "report/totals.hpp"

namespace report = nebula::report;

extern "C" {

NEBULA_EXPORT int malloc_trim(std::size_t) noexcept { return nebula::heap::trim() != 0 ? 1 : 0; }

// Nothing that glibc's parameters tune exists here; asking is no error.
NEBULA_EXPORT int mallopt(int, int) noexcept { return 1; }

NEBULA_EXPORT struct mallinfo2 mallinfo2() noexcept {
  const report::Totals totals = report::totals();
  struct mallinfo2 info = {};
  info.arena = totals.committed_bytes - totals.large_live_bytes;
  info.hblks = totals.large_live_objects;
  info.hblkhd = totals.large_live_bytes;
  info.uordblks = totals.live_bytes - totals.large_live_bytes;
  info.fordblks = totals.committed_bytes - totals.live_bytes;
  info.keepcost = totals.dirty_bytes;
  return info;
}

NEBULA_EXPORT struct mallinfo mallinfo() noexcept {
  const struct mallinfo2 wide = mallinfo2();
  const auto clamp = [](std::size_t value) { return value > INT_MAX ? INT_MAX : static_cast<int>(value); };
  struct mallinfo info = {};
  info.arena = clamp(wide.arena);
  info.hblks = clamp(wide.hblks);
  info.hblkhd = clamp(wide.hblkhd);
  info.uordblks = clamp(wide.uordblks);
  info.fordblks = clamp(wide.fordblks);
  info.keepcost = clamp(wide.keepcost);
  return info;
}

NEBULA_EXPORT void malloc_stats() noexcept { report::write_to_standard_error(); }

NEBULA_EXPORT int malloc_info(int options, FILE* stream) noexcept {
  if (options != 0) return EINVAL;
  const report::Totals t = report::totals();
  const int written = fprintf(stream,
                              "<malloc version=\"nebula-1\">\n"
                              "<live objects=\"%lu\" bytes=\"%lu\"/>\n"
                              "<large objects=\"%lu\" bytes=\"%lu\"/>\n"
                              "<pools bytes=\"%lu\"/>\n<depots bytes=\"%lu\"/>\n<slabs free=\"%lu\"/>\n"
                              "<spans dirty=\"%lu\" clean=\"%lu\"/>\n<metadata bytes=\"%lu\"/>\n"
                              "<system type=\"current\" size=\"%lu\"/>\n<system type=\"mapped\" size=\"%lu\"/>\n"
                              "</malloc>\n",
                              t.live_objects, t.live_bytes, t.large_live_objects, t.large_live_bytes, t.pooled_bytes,
                              t.depot_bytes, t.slab_free_bytes, t.dirty_bytes, t.clean_bytes, t.metadata_bytes,
                              t.committed_bytes, t.mapped_bytes);
  return written < 0 ? errno : 0;
}

}  // extern "C"
