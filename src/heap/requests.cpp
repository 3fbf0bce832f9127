#include "heap/requests.hpp"

#include "base/start_data.hpp"
#include "base/units.hpp"

namespace nebula::heap {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // totals for the report, which order nothing

struct Counter {
  std::atomic<std::uint64_t> count;
  std::atomic<std::uint64_t> bytes;
};
alignas(2048) constinit Counter counters[kClassEnd] = {};  // in one page, for a report
constinit std::atomic<std::uint64_t> granted{0};  // to large objects

Requests read(const Counter& counter) { return {counter.count.load(kRelaxed), counter.bytes.load(kRelaxed)}; }

}  // namespace

NEBULA_START_DATA constinit std::atomic<bool> samples_requests{false};

void sample_requests() { samples_requests.store(true, kRelaxed); }

void note_request(SizeClass c, std::size_t bytes) {
  Counter& counter = counters[index_of(c)];
  counter.bytes.fetch_add(bytes, kRelaxed);
  counter.count.fetch_add(1, kRelaxed);
  if (c == kNoClass) granted.fetch_add(pages_for(bytes).bytes(), kRelaxed);
}

Requests sampled_requests(SizeClass c) { return read(counters[index_of(c)]); }

Requests large_requests() { return read(counters[0]); }

std::uint64_t large_granted_bytes() { return granted.load(kRelaxed); }

}  // namespace nebula::heap
