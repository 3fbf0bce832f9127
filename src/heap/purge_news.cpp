#include "heap/purge_news.hpp"

#include <atomic>

#include "budget/account.hpp"

namespace nebula::heap {

const char* name_of(PurgeReason reason) {
  constexpr const char* kNames[] = {"call", "idle", "soft limit", "hard limit", "system", "pressure"};
  static_assert(sizeof kNames / sizeof kNames[0] == kPurgeReasons);
  return kNames[static_cast<unsigned>(reason)];
}

namespace purge_news {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // sums and a wish, which order nothing

constinit std::atomic<bool> is_watched{false};
constinit std::atomic<std::uint64_t> untold[kPurgeReasons] = {};

}  // namespace

constinit thread_local bool Telling::is_telling = false;

void watch() { is_watched.store(true, kRelaxed); }

void note(PurgeReason reason, std::size_t bytes) {
  if (bytes == 0 || !is_watched.load(kRelaxed) || Telling::is_telling) return;
  untold[static_cast<unsigned>(reason)].fetch_add(bytes, kRelaxed);
  any_news.store(true, kRelaxed);
}

std::uint64_t take(PurgeReason reason) {
  std::atomic<std::uint64_t>& bytes = untold[static_cast<unsigned>(reason)];
  return bytes.load(kRelaxed) == 0 ? 0 : bytes.exchange(0, kRelaxed);
}

}  // namespace purge_news
}  // namespace nebula::heap
