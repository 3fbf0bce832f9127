#include "latency.hpp"

#include <atomic>

#include "failure.hpp"
#include "threads.hpp"

namespace workload {
namespace {

struct Place {
  std::atomic<bool> taken;
  Histogram histograms[2];
};

constinit Place places[2 * kMostThreads];  // twice: a thread may begin while the one before it still ends

}  // namespace

void Histogram::add(const Histogram& other) {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  if (other.most_ > most_) most_ = other.most_;
}

std::uint64_t Histogram::percentile(double share) const {
  std::uint64_t total = 0;
  for (const std::uint64_t count : counts_) total += count;
  const auto wanted = static_cast<std::uint64_t>(static_cast<double>(total) * share);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (counts_[i] != 0 && seen >= wanted) return end_of(i) < most_ ? end_of(i) : most_;
  }
  return most_;
}

void Recorder::claim() {
  for (Place& place : places) {
    // Pairs with the release in ~Recorder: the next thread goes on from what the last one counted.
    if (!place.taken.load(std::memory_order_relaxed) && !place.taken.exchange(true, std::memory_order_acquire)) {
      histograms = place.histograms;
      return;
    }
  }
  fail("--latency: more threads than there are histograms");
}

Recorder::~Recorder() {
  for (Place& place : places)
    if (place.histograms == histograms) place.taken.store(false, std::memory_order_release);
}

Histogram recorded(Call call) {
  Histogram all;
  for (const Place& place : places) all.add(place.histograms[static_cast<std::size_t>(call)]);
  return all;
}

}  // namespace workload
