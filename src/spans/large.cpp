#include "spans/large.hpp"

#include <cstring>

#include "base/bits.hpp"
#include "base/start_data.hpp"
#include "budget/size_limits.hpp"
#include "budget/usage.hpp"
#include "size_class/size_class.hpp"

namespace nebula::large {
namespace {

struct Record {
  std::uint64_t pages;
  std::uint64_t units;
  profiling::Sample sample;  // its object's as it is now: one that is resized begins anew
};
static_assert(kBehindSlabHome + sizeof(Record) <= kUnitRecordBytes);

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kHead = static_cast<std::uint8_t>(UnitUse::kLargeHead);
constexpr auto kInside = static_cast<std::uint8_t>(UnitUse::kLargeInside);
constexpr auto kNothing = static_cast<std::uint8_t>(UnitUse::kNothing);

// Relaxed: totals for the report. By the part that an object is of, so that what threads count apart lies apart.
struct alignas(2 * kCacheLine) PartCounts {
  std::atomic<std::uint64_t> allocations{0};
  std::atomic<std::uint64_t> frees{0};
  std::atomic<std::uint64_t> begun_bytes{0};
  std::atomic<std::uint64_t> ended_bytes{0};
  std::atomic<std::uint64_t> grown_in_place{0};
};
NEBULA_LATER_DATA constinit PartCounts counts_of[SpanHeap::kPartsMost];

PartCounts& counts_for(UnitIndex head) { return counts_of[part_of(head)]; }

Record& record_at(UnitIndex head) {
  return *reinterpret_cast<Record*>(record_map.unit_records + std::size_t{head} * kUnitRecordBytes + kBehindSlabHome);
}

void set_use(UnitIndex first, std::size_t count, std::uint8_t use) {
  for (std::size_t i = 0; i < count; ++i) unit_use(first + i).store(use, kRelaxed);
}

void count_live(UnitIndex head, std::size_t pages) {
  counts_for(head).begun_bytes.fetch_add(pages * kPageSize, kRelaxed);
  bytes_in_use.add(pages * kPageSize, part_of(head));
}

void count_dead(UnitIndex head, std::size_t pages) {
  counts_for(head).ended_bytes.fetch_add(pages * kPageSize, kRelaxed);
  bytes_in_use.subtract(pages * kPageSize, part_of(head));
}

void begin_object(UnitIndex head, Pages pages, Units units) {
  record_at(head) = {pages.count, units.count, {}};
  set_use(head + 1, units.count - 1, kInside);
  count_live(head, pages.count);  // before anybody can free it, rightly or not
  // release: pairs with the acquire in purge_tails, which reads the record of an object it does not own.
  unit_use(head).store(kHead, std::memory_order_release);
  counts_for(head).allocations.fetch_add(1, kRelaxed);
}

// The accounts of the old and the new size of an object, 0 pages where there is none: the new one is charged first, the old one
// credited when all has gone well, and the charge taken back when not.
class SizeCharge {
 public:
  SizeCharge(Pages before, Pages after)
      : from_(before.count == 0 ? nullptr : size_limits::of_large(before.bytes())),
        to_(size_limits::of_large(after.bytes())),
        credit_(before.bytes()),
        charge_(after.bytes()) {
    if (from_ == to_) {
      const std::size_t both = credit_ < charge_ ? credit_ : charge_;
      credit_ -= both;
      charge_ -= both;
    }
  }
  ~SizeCharge() {
    if (is_charged_ && !is_settled_ && to_ != nullptr) to_->credit(charge_);
  }
  SizeCharge(const SizeCharge&) = delete;
  SizeCharge& operator=(const SizeCharge&) = delete;

  [[nodiscard]] bool try_charge() { return is_charged_ = to_ == nullptr || to_->try_charge(charge_); }
  void settle() {
    is_settled_ = true;
    if (from_ != nullptr && credit_ != 0) from_->credit(credit_);
  }

 private:
  Account* from_;
  Account* to_;
  std::size_t credit_;
  std::size_t charge_;
  bool is_charged_ = false;
  bool is_settled_ = false;
};

class Claim {
 public:
  Claim(SpanHeap& spans, UnitIndex head) : spans_(spans), head_(head) { spans_.claim(head_); }
  ~Claim() { spans_.release_claim(head_); }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

 private:
  SpanHeap& spans_;
  UnitIndex head_;
};

// What an object leaves of its last unit.
pages::Range tail_of(UnitIndex head) {
  const Record& record = record_at(head);
  return {first_page_of(head) + record.pages, Pages{record.units * kPagesPerUnit - record.pages}};
}

}  // namespace

Address allocate(SpanHeap& spans, std::size_t size, std::size_t alignment, Contents contents, unsigned part) {
  const Pages pages = pages_for(size);
  SizeCharge charge({0}, pages);
  if (!charge.try_charge()) return 0;
  const Units units = units_for(pages);
  const Units unit_alignment = {alignment > kUnitSize ? alignment / kUnitSize : 1};
  const UnitIndex head = spans.take(units, unit_alignment, SpanHeap::From::kAny, part);
  if (head == kNoUnit) return 0;
  const pages::Range range = {first_page_of(head), pages};
  if (contents == Contents::kZero) pages::clear_committed(range);
  if (!pages::commit(range, Account::Reserve::kMustLeave)) {
    spans.give_back(head, units);
    return 0;
  }
  charge.settle();
  begin_object(head, pages, units);
  return address_of_unit(head);
}

bool deallocate(SpanHeap& spans, void* pointer) {
  const auto head = static_cast<UnitIndex>(unit_of(pointer));
  if (reinterpret_cast<Address>(pointer) != address_of_unit(head)) return false;
  // Of two threads that free the same object, one wins here; the other finds no object.
  std::uint8_t use = kHead;
  if (!unit_use(head).compare_exchange_strong(use, kNothing, kRelaxed)) return false;
  const Record record = record_at(head);
  profiling::sites::note_free(record.sample);
  set_use(head + 1, record.units - 1, kNothing);
  counts_for(head).frees.fetch_add(1, kRelaxed);
  count_dead(head, record.pages);
  if (Account* const account = size_limits::of_large(record.pages * kPageSize)) account->credit(record.pages * kPageSize);
  spans.give_back(head, {record.units});
  return true;
}

void set_sample(UnitIndex head, const profiling::Sample& sample) { record_at(head).sample = sample; }

const profiling::Sample& sample_at(UnitIndex head) { return record_at(head).sample; }

std::size_t size_of(UnitIndex head) { return record_at(head).pages * kPageSize; }

UnitIndex head_of(UnitIndex inside) {
  while (unit_use(inside).load(kRelaxed) == kInside && inside > 0) --inside;
  return inside;
}

bool resize_in_place(SpanHeap& spans, UnitIndex head, std::size_t size) {
  const Claim claim(spans, head);
  Record& record = record_at(head);
  const Pages before = {record.pages};
  const Units units_before = {record.units};
  const Pages after = pages_for(size);
  const Units units_after = units_for(after);
  SizeCharge charge(before, after);
  if (!charge.try_charge()) return false;

  if (units_after > units_before && !spans.extend(head, units_before, units_after)) return false;
  if (after > before && !pages::commit({first_page_of(head) + before.count, after - before}, Account::Reserve::kMustLeave)) {
    if (units_after > units_before)
      spans.give_back(head + static_cast<UnitIndex>(units_before.count), {units_after.count - units_before.count});
    return false;
  }
  charge.settle();
  profiling::sites::note_free(record.sample);
  if (after > before) count_live(head, after.count - before.count);  // first, as in begin_object
  record = {after.count, units_after.count, {}};
  if (units_after > units_before)
    set_use(head + static_cast<UnitIndex>(units_before.count), units_after.count - units_before.count, kInside);
  if (after > before) {
    counts_for(head).grown_in_place.fetch_add(1, kRelaxed);
  } else {
    count_dead(head, before.count - after.count);
  }
  if (units_after < units_before) {
    const auto tail = head + static_cast<UnitIndex>(units_after.count);
    const Units tail_units = {units_before.count - units_after.count};
    set_use(tail, tail_units.count, kNothing);
    spans.give_back(tail, tail_units);
  }
  return true;
}

Address grow_by_moving_pages(SpanHeap& spans, UnitIndex head, std::size_t size, unsigned part) {
  const Record old = record_at(head);
  const Pages before = {old.pages};
  if (pages::is_fixed({first_page_of(head), before})) return 0;
  const Pages after = pages_for(size);
  SizeCharge charge(before, after);
  if (!charge.try_charge()) return 0;
  const Units units = units_for(after);
  const UnitIndex target = spans.take(units, {1}, SpanHeap::From::kAny, part);
  if (target == kNoUnit) return 0;
  if (pages::is_fixed(pages::pages_of(target, units))) {
    spans.give_back(target, units);
    return 0;
  }
  // The growth is charged first: once the pages have moved there is no way back.
  const pages::Range growth = {first_page_of(target) + before.count, after - before};
  if (!spans.note_patched(target, units) || !pages::commit(growth, Account::Reserve::kMustLeave) ||
      !pages::move({first_page_of(head), before}, {first_page_of(target), before})) {
    spans.give_back(target, units);
    return 0;
  }
  charge.settle();
  profiling::sites::note_free(old.sample);
  count_dead(head, old.pages);  // before the new one is counted, or the peak in use would have both
  begin_object(target, after, units);
  unit_use(head).store(kNothing, kRelaxed);
  set_use(head + 1, old.units - 1, kNothing);
  counts_for(head).frees.fetch_add(1, kRelaxed);
  spans.give_back(head, {old.units});
  return address_of_unit(target);
}

std::size_t purge_tails(SpansOf spans_of, const void* context) {
  std::size_t purged = 0;
  const std::uint64_t end = heap_map.mapped_units.load(kRelaxed);
  for (UnitIndex head = 0; head < end; ++head) {
    if (unit_use(head).load(kRelaxed) != kHead) continue;
    SpanHeap* const spans = spans_of(context, head);
    if (spans == nullptr || !spans->try_claim(head)) continue;
    // Claimed before this look: if it is an object now, it stays one until the claim ends. acquire: see begin_object.
    if (unit_use(head).load(std::memory_order_acquire) == kHead) {
      const pages::Range tail = tail_of(head);
      const std::size_t bytes = pages::committed_in(tail).bytes();
      if (bytes != 0 && pages::purge(tail)) purged += bytes;
    }
    spans->release_claim(head);
  }
  return purged;
}

// While others go on, rather too few than too many: what has begun is read before what has ended.
Counts counts() {
  Counts sum = {};
  for (const PartCounts& part : counts_of) {
    sum.allocations += part.allocations.load(std::memory_order_acquire);
    sum.live_bytes += part.begun_bytes.load(std::memory_order_acquire);
    sum.grown_in_place += part.grown_in_place.load(std::memory_order_acquire);
  }
  std::uint64_t ended = 0;
  for (const PartCounts& part : counts_of) {
    sum.frees += part.frees.load(kRelaxed);
    ended += part.ended_bytes.load(kRelaxed);
  }
  sum.live_bytes = at_least_zero(sum.live_bytes, ended);
  return sum;
}

}  // namespace nebula::large
