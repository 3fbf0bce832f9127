// Of the functions of nebula/nebula.h, which says what they promise, those on the process: its memory, statistics and budget.
// Nothing here but the names, checks of arguments and the forms of structs: what they do is in src.
#include <errno.h>

#include <cstring>

#include "budget/account.hpp"
#include "heap/heap.hpp"
#include "nebula/nebula.h"
#include "preload/interpose.hpp"
#include "preload/versioned.hpp"
#include "report/monitor.hpp"
#include "report/totals.hpp"

using nebula::give;
using nebula::has_room;

namespace {

// The same fields in the same order, each of eight bytes.
static_assert(sizeof(nebula_statistics) == sizeof(nebula_statistics_difference));
static_assert(offsetof(nebula_statistics, foreign_pointers) == offsetof(nebula_statistics_difference, foreign_pointers));
constexpr std::size_t kFields = (sizeof(nebula_statistics) - sizeof(std::size_t)) / sizeof(std::uint64_t);

// What a struct is too short for is 0.
void read_fields(const nebula_statistics& from, std::uint64_t (&fields)[kFields]) {
  const std::size_t bytes = from.size - sizeof from.size;
  std::memset(fields, 0, sizeof fields);
  std::memcpy(fields, &from.at_rest, (bytes < sizeof fields ? bytes : sizeof fields) / sizeof fields[0] * sizeof fields[0]);
}

}  // namespace

extern "C" {

NEBULA_EXPORT const char* nebula_version(void) { return NEBULA_VERSION; }

NEBULA_EXPORT std::size_t nebula_purge(void) { return nebula::heap::trim(); }

NEBULA_EXPORT void nebula_thread_flush(void) { nebula::heap::flush_this_thread(); }

NEBULA_EXPORT int nebula_statistics_take(nebula_statistics* statistics) {
  if (!has_room(statistics)) return EINVAL;
  nebula::report::Totals t;
  if (!nebula::report::take_totals(t)) return EAGAIN;
  give(statistics, {.size = 0,
                    .at_rest = t.at_rest ? 1u : 0u,
                    .allocations = t.allocations,
                    .frees = t.frees,
                    .live_objects = t.live_objects,
                    .live_bytes = t.live_bytes,
                    .pooled_bytes = t.pooled_bytes,
                    .depot_bytes = t.depot_bytes,
                    .slab_free_bytes = t.slab_free_bytes,
                    .dirty_bytes = t.dirty_bytes,
                    .metadata_bytes = t.metadata_bytes,
                    .committed_bytes = t.committed_bytes,
                    .committed_peak_bytes = t.committed_peak_bytes,
                    .mapped_bytes = t.mapped_bytes,
                    .large_objects = t.large_live_objects,
                    .large_bytes = t.large_live_bytes,
                    .purges = t.purges,
                    .purged_bytes = t.purged_bytes,
                    .budget_refusals = t.budget_refusals,
                    .system_refusals = t.system_refusals,
                    .double_frees = t.double_frees,
                    .invalid_frees = t.invalid_frees,
                    .foreign_pointers = t.foreign_pointers});
  return 0;
}

NEBULA_EXPORT int nebula_statistics_diff(const nebula_statistics* before, const nebula_statistics* after,
                                         nebula_statistics_difference* difference) {
  if (!has_room(before) || !has_room(after) || !has_room(difference)) return EINVAL;
  std::uint64_t from[kFields];
  std::uint64_t to[kFields];
  read_fields(*before, from);
  read_fields(*after, to);
  const std::size_t shorter = before->size < after->size ? before->size : after->size;
  const std::size_t known = (shorter - sizeof(std::size_t)) / sizeof(std::uint64_t);
  const bool both_at_rest = from[0] != 0 && to[0] != 0;
  for (std::size_t i = 0; i < kFields; ++i) to[i] = i < known ? to[i] - from[i] : 0;
  to[0] = both_at_rest ? 1 : 0;
  nebula_statistics_difference result = {};
  std::memcpy(&result.at_rest, to, sizeof to);
  give(difference, result);
  return 0;
}

NEBULA_EXPORT int nebula_budget_set(std::uint64_t limit_bytes, std::uint64_t soft_limit_bytes) {
  if (limit_bytes == 0 || soft_limit_bytes == 0) return EINVAL;
  if (soft_limit_bytes != NEBULA_NO_LIMIT && soft_limit_bytes > limit_bytes) return EINVAL;
  return nebula::heap::set_budget(limit_bytes, soft_limit_bytes) ? 0 : EAGAIN;
}

NEBULA_EXPORT int nebula_budget_get(nebula_budget* budget) {
  if (!has_room(budget)) return EINVAL;
  const nebula::Account& account = nebula::process_account;
  const nebula::Account::Counts counts = account.counts();
  const std::uint64_t committed = account.committed();  // before the peak, which is above it then
  give(budget, {.size = 0,
                .limit_bytes = account.hard_limit(),
                .soft_limit_bytes = account.soft_limit(),
                .reserve_bytes = account.reserve(),
                .committed_bytes = committed,
                .peak_bytes = account.peak(),
                .refusals = counts.refusals,
                .largest_refused_bytes = counts.largest_refused_bytes});
  return 0;
}

NEBULA_EXPORT int nebula_monitor_add(const nebula_monitor* table) {
  nebula_monitor known;
  if (table == nullptr || table->size < offsetof(nebula_monitor, hard_limit) || !nebula::read(table, known)) return EINVAL;
  switch (nebula::monitor::add(table)) {
    case nebula::monitor::Added::kDone: return 0;
    case nebula::monitor::Added::kThereAlready: return EEXIST;
    default: return ENOSPC;
  }
}

NEBULA_EXPORT int nebula_monitor_remove(const nebula_monitor* table) {
  return table != nullptr && nebula::monitor::remove(table) ? 0 : ENOENT;
}

NEBULA_EXPORT int nebula_budget_reserve(std::uint64_t bytes) {
  nebula::process_account.set_reserve(bytes);
  return 0;
}

}  // extern "C"
