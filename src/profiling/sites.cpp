#include "profiling/sites.hpp"

#include <bit>
#include <cstring>

#include "os/process.hpp"
#include "profiling/room.hpp"

namespace nebula::profiling {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr unsigned kSlots = 32 * 1024;
constexpr unsigned kProbesMost = 128;
constexpr std::uint32_t kNowhere = 1;  // no site: the tables lie there
constexpr std::uint32_t kEnd = 2;      // likewise

constinit std::atomic<std::uint32_t>* slots = nullptr;  // set before any sample
constinit std::atomic<std::uint32_t> newest{0};  // of the list that leads through all sites
constinit Site nowhere = {};
constinit std::atomic<std::uint64_t> sites_used{0};
constinit std::atomic<std::uint64_t> samples_allocated{0};
constinit std::atomic<std::uint64_t> samples_freed{0};
constinit std::atomic<std::uint64_t> samples_lost{0};

constinit Tally lives[sites::kLifetimes] = {};

struct ClassFit {
  std::atomic<std::uint64_t> samples, requested, given;
};
constinit ClassFit fits[kClassEnd] = {};

std::uint64_t hash_of(const Stack& stack) {
  std::uint64_t hash = stack.depth * 2 + (stack.is_cut ? 1 : 0);
  for (unsigned i = 0; i < stack.depth; ++i) {
    hash = (hash ^ stack.frames[i]) * 0x9e37'79b9'7f4a'7c15;
    hash ^= hash >> 29;
  }
  return hash;
}

bool is_same(const Site& site, const Stack& stack, std::uint64_t hash) {
  return site.hash == hash && site.depth == stack.depth && site.is_cut == stack.is_cut &&
         std::memcmp(site.frames(), stack.frames, stack.depth * sizeof(LocationIndex)) == 0;
}

Site* site_at(std::uint32_t offset) { return offset == kNowhere ? &nowhere : static_cast<Site*>(room::at(offset)); }

std::size_t bytes_for(const Stack& stack) { return sizeof(Site) + stack.depth * sizeof(LocationIndex); }

std::uint32_t add_site(const Stack& stack, std::uint64_t hash, std::atomic<std::uint32_t>& slot, std::uint32_t& found) {
  auto* const site = static_cast<Site*>(room::allocate(bytes_for(stack)));
  if (site == nullptr) return kNowhere;
  site->hash = hash;
  site->depth = static_cast<std::uint16_t>(stack.depth);
  site->is_cut = stack.is_cut;
  std::memcpy(site->frames(), stack.frames, stack.depth * sizeof(LocationIndex));
  const std::uint32_t mine = room::offset_of(site);
  // release: pairs with the acquire in find_site, so that the frames are seen.
  if (slot.compare_exchange_strong(found, mine, std::memory_order_release, std::memory_order_acquire)) {
    sites_used.fetch_add(1, kRelaxed);
    std::uint32_t older = newest.load(kRelaxed);
    do {
      site->older.store(older, kRelaxed);
      // release: pairs with the acquire in next; whoever comes later continues what this begins, so the older ones are seen, too.
    } while (!newest.compare_exchange_weak(older, mine, std::memory_order_release, kRelaxed));
    return mine;
  }
  room::give_back(site, bytes_for(stack));
  return 0;
}

std::uint32_t find_site(const Stack& stack) {
  const std::uint64_t hash = hash_of(stack);
  for (unsigned i = 0; i < kProbesMost; ++i) {
    std::atomic<std::uint32_t>& slot = slots[((hash >> 32) + i) % kSlots];
    std::uint32_t found = slot.load(std::memory_order_acquire);
    if (found == 0)
      if (const std::uint32_t added = add_site(stack, hash, slot, found)) return added;
    if (is_same(*site_at(found), stack, hash)) return found;
  }
  return kNowhere;
}

}  // namespace

void Tally::add(const Weight& weight) {
  samples.fetch_add(1, kRelaxed);
  objects.fetch_add(weight.objects, kRelaxed);
  bytes.fetch_add(weight.bytes, kRelaxed);
  variance.fetch_add(weight.variance, kRelaxed);
}

Sums Tally::sums() const {
  return {samples.load(kRelaxed), {objects.load(kRelaxed), bytes.load(kRelaxed), variance.load(kRelaxed)}};
}

void Sums::add(const Sums& other) {
  samples += other.samples;
  weight.objects += other.weight.objects;
  weight.bytes += other.weight.bytes;
  weight.variance += other.weight.variance;
}

void Sums::add(const Weight& sample) { add(Sums{1, sample}); }

Sums Sums::less(const Sums& part) const {
  return {at_least_zero(samples, part.samples),
          {at_least_zero(weight.objects, part.weight.objects), at_least_zero(weight.bytes, part.weight.bytes),
           at_least_zero(weight.variance, part.weight.variance)}};
}

std::uint64_t Sums::bytes_error() const {
  const double variance = static_cast<double>(weight.variance) / (1 << kVarianceBits);
  return static_cast<std::uint64_t>(__builtin_sqrt(variance) * static_cast<double>(period()) + 0.5);
}

Sums Site::live() const {
  const Sums dead = freed.sums();
  return allocated().less(dead);
}

Sums Site::left() const { return live().less(kept.sums()); }

namespace sites {

bool begin(std::uint64_t period) {
  slots = static_cast<std::atomic<std::uint32_t>*>(room::allocate(kSlots * sizeof *slots));
  if (slots == nullptr || !code_map::begin()) return false;
  period_bytes.store(period, kRelaxed);
  return true;
}

Sample note_allocation(const Stack& stack, unsigned size_class, std::size_t bytes, std::size_t requested) {
  const Sample sample = {find_site(stack), size_class, bytes, os::nanoseconds()};
  const Weight weight = weight_of(bytes, period());
  site_at(sample.site)->born.add(weight);
  samples_allocated.fetch_add(1, kRelaxed);
  ClassFit& fit = fits[size_class];
  fit.samples.fetch_add(1, kRelaxed);
  fit.requested.fetch_add(weight.objects * (requested < bytes ? requested : bytes), kRelaxed);
  fit.given.fetch_add(weight.objects * bytes, kRelaxed);
  return sample;
}

void note_free(const Sample& sample) {
  if (sample.site == 0) return;
  const Weight weight = weight_of(sample.bytes, period());
  site_at(sample.site)->freed.add(weight);
  samples_freed.fetch_add(1, kRelaxed);
  lives[lifetime_of(os::nanoseconds() - sample.born)].add(weight);
}

void note_kept(const Sample& sample) {
  if (sample.site != 0) site_at(sample.site)->kept.add(weight_of(sample.bytes, period()));
}

const Site* next(unsigned& position) {
  // acquire: pairs with the release in add_site.
  if (position == 0) position = newest.load(std::memory_order_acquire);
  if (position == kEnd) return nullptr;
  if (position == 0 || position == kNowhere) {
    position = kEnd;
    return &nowhere;
  }
  const Site* const site = site_at(position);
  const std::uint32_t older = site->older.load(kRelaxed);
  position = older != 0 ? older : kNowhere;
  return site;
}

unsigned lifetime_of(std::uint64_t nanoseconds) {
  const auto index = static_cast<unsigned>(std::bit_width(nanoseconds / 1000));
  return index < kLifetimes ? index : kLifetimes - 1;
}

Sums lifetimes(unsigned index) { return lives[index].sums(); }

Totals totals() {
  Totals totals;
  unsigned position = 0;
  while (const Site* const site = next(position)) {
    totals.live.add(site->live());
    totals.all.add(site->allocated());
  }
  return totals;
}

Fit fit(unsigned size_class) {
  const ClassFit& fit = fits[size_class];
  return {fit.samples.load(kRelaxed), fit.requested.load(kRelaxed), fit.given.load(kRelaxed)};
}

Counts counts() {
  Counts counts;
  counts.freed = samples_freed.load(kRelaxed);
  counts.samples = samples_allocated.load(kRelaxed);
  counts.lost = samples_lost.load(kRelaxed);
  counts.sites = sites_used.load(kRelaxed);
  counts.unplaced = nowhere.born.samples.load(kRelaxed);
  counts.table_bytes = room::used();
  return counts;
}

void count_lost() { samples_lost.fetch_add(1, kRelaxed); }

}  // namespace sites
}  // namespace nebula::profiling
