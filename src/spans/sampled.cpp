#include "spans/sampled.hpp"

#include "base/start_data.hpp"
#include "budget/size_limits.hpp"
#include "budget/usage.hpp"

namespace nebula::sampled {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kSampled = static_cast<std::uint8_t>(UnitUse::kSampled);
constexpr auto kNothing = static_cast<std::uint8_t>(UnitUse::kNothing);
constexpr Units kOneUnit = {1};

struct ClassCounts {  // relaxed: totals for the report
  std::atomic<std::uint64_t> allocations, frees;
};
NEBULA_LATER_DATA constinit ClassCounts counts_of[kClassEnd] = {};

profiling::Sample& record_at(UnitIndex unit) {
  static_assert(kBehindSlabHome + sizeof(profiling::Sample) <= kUnitRecordBytes && kSmallMax <= kUnitSize);
  return *reinterpret_cast<profiling::Sample*>(record_map.unit_records + std::size_t{unit} * kUnitRecordBytes + kBehindSlabHome);
}

void* take_memory(SpanHeap& spans, SizeClass c) {
  const UnitIndex unit = spans.take(kOneUnit, kOneUnit);
  if (unit == kNoUnit) return nullptr;
  const auto reserve = slot_size(c) <= kFineMax ? Account::Reserve::kMayUse : Account::Reserve::kMustLeave;
  if (pages::commit({first_page_of(unit), pages_for(slot_size(c))}, reserve)) return reinterpret_cast<void*>(address_of_unit(unit));
  spans.give_back(unit, kOneUnit);
  return nullptr;
}

}  // namespace

void* allocate(SpanHeap& spans, SizeClass c) {
  Account* const account = size_limits::of_class(c);
  if (account != nullptr && !account->try_charge(slot_size(c))) return nullptr;
  void* const object = take_memory(spans, c);
  if (object == nullptr && account != nullptr) account->credit(slot_size(c));
  return object;
}

void begin(void* object, const profiling::Sample& sample) {
  const auto unit = static_cast<UnitIndex>(unit_of(object));
  record_at(unit) = sample;
  counts_of[sample.size_class].allocations.fetch_add(1, kRelaxed);
  bytes_in_use.add(slot_size(size_class(sample.size_class)), part_of(unit));
  // release: pairs with the acquire of those who look through all units and read the records of objects they do not own.
  unit_use(unit).store(kSampled, std::memory_order_release);
}

bool deallocate(SpanHeap& spans, void* pointer) {
  const auto unit = static_cast<UnitIndex>(unit_of(pointer));
  if (reinterpret_cast<Address>(pointer) != address_of_unit(unit)) return false;
  // Of two threads that free the same object, one wins here; the other finds no object.
  std::uint8_t use = kSampled;
  if (!unit_use(unit).compare_exchange_strong(use, kNothing, kRelaxed)) return false;
  const profiling::Sample sample = record_at(unit);
  profiling::sites::note_free(sample);
  counts_of[sample.size_class].frees.fetch_add(1, kRelaxed);
  const SizeClass c = size_class(sample.size_class);
  bytes_in_use.subtract(slot_size(c), part_of(unit));
  if (Account* const account = size_limits::of_class(c)) account->credit(slot_size(c));
  spans.give_back(unit, kOneUnit);
  return true;
}

const profiling::Sample& sample_at(UnitIndex unit) { return record_at(unit); }

SizeClass class_at(UnitIndex unit) {
  // Held within the table: without the locks, use and record may be of different owners.
  const std::uint32_t c = record_at(unit).size_class;
  return size_class(is_size_class(c) ? c : kClassFirst);
}

Counts counts(SizeClass c) {
  // What is freed is read first, so that no more is freed than was allocated.
  const std::uint64_t frees = counts_of[index_of(c)].frees.load(kRelaxed);
  return {counts_of[index_of(c)].allocations.load(kRelaxed), frees};
}

}  // namespace nebula::sampled
