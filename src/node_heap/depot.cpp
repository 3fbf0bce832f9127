#include "node_heap/depot.hpp"

#include <cstring>

#include "pages/address_space.hpp"
#include "sync/lock.hpp"

namespace nebula {
namespace {

constexpr unsigned kBatchesLeast = 2;
constexpr std::uint32_t kRecordsPerPage = kPageSize / sizeof(BatchRecord);

constinit BatchStack spare_records;  // of all depots
constinit std::atomic<std::uint32_t> maker{0};  // the token of the thread that makes records
constinit std::uint32_t records_made = 0;  // by the maker

BatchRecord& record_at(std::uint32_t index) {
  return reinterpret_cast<BatchRecord*>(record_map.batch_records)[index];
}

// A page of new records. One thread at a time, the others do without: a depot is an optimisation.
std::uint32_t make_records() {
  // acquire / release: what the last maker did to records_made and the area is seen by the next.
  std::uint32_t nobody = 0;
  if (!maker.compare_exchange_strong(nobody, thread_token(), std::memory_order_acquire, std::memory_order_relaxed))
    return BatchStack::kNone;
  std::uint32_t first = BatchStack::kNone;
  const std::size_t end = (records_made + kRecordsPerPage) * sizeof(BatchRecord);
  if (pages::map_metadata(pages::Area::kBatchRecords, end) && pages::commit_metadata(kPageSize)) {
    first = records_made;
    records_made += kRecordsPerPage;
  }
  maker.store(0, std::memory_order_release);
  if (first == BatchStack::kNone) return first;
  for (std::uint32_t i = 1; i < kRecordsPerPage; ++i) spare_records.push(first + i);
  return first;
}

}  // namespace

void BatchStack::push(std::uint32_t record) {
  std::uint64_t head = head_.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    record_at(record).next.store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
    next = ((head >> 32) + 1) << 32 | (record + 1);
    // release: the record's slots and its next are seen by the pop whose acquire reads this head.
  } while (!head_.compare_exchange_weak(head, next, std::memory_order_release, std::memory_order_relaxed));
}

std::uint32_t BatchStack::pop() {
  // acquire: pairs with the release in push.
  std::uint64_t head = head_.load(std::memory_order_acquire);
  for (;;) {
    const auto top = static_cast<std::uint32_t>(head);
    if (top == 0) return kNone;
    const std::uint32_t below = record_at(top - 1).next.load(std::memory_order_relaxed);
    const std::uint64_t next = ((head >> 32) + 1) << 32 | below;
    // acquire on success too: it is this read of the head that makes the record ours.
    if (head_.compare_exchange_weak(head, next, std::memory_order_acquire, std::memory_order_acquire)) return top - 1;
  }
}

// relaxed: there is one thread.
void Depot::reset_in_child() {
  if (maker.load(std::memory_order_relaxed) != thread_token()) maker.store(0, std::memory_order_relaxed);
}

bool Depot::deposit(SizeClass c, void* const* slots) {
  const unsigned batch = kSizeClasses.batch[index_of(c)];
  const std::size_t bytes = kBytesFirst << doublings_.load(std::memory_order_relaxed);
  const std::size_t wanted = bytes / (batch * slot_size(c));
  if (facts().batches >= (wanted > kBatchesLeast ? wanted : kBatchesLeast)) {
    was_full_.store(true, std::memory_order_relaxed);
    return false;
  }
  std::uint32_t index = spare_records_.pop();
  if (index == BatchStack::kNone) index = spare_records.pop();
  if (index == BatchStack::kNone) index = make_records();
  if (index == BatchStack::kNone) return false;
  BatchRecord& record = record_at(index);
  record.depositor = thread_token();
  std::memcpy(record.slots, slots, batch * sizeof slots[0]);
  counts_.fetch_add(kOneDeposit + 1, std::memory_order_relaxed);  // before the push: never less than there is
  stack_.push(index);
  return true;
}

void Depot::start_again() {
  doublings_.store(0, std::memory_order_relaxed);
  for (std::uint32_t index; (index = spare_records_.pop()) != BatchStack::kNone;) spare_records.push(index);
}

void Depot::grow_within(std::uint64_t bytes) {
  wants_more_.store(false, std::memory_order_relaxed);
  const std::uint32_t more = doublings_.load(std::memory_order_relaxed) + 1;
  if (kBytesFirst << more <= kBytesMost && kBytesFirst << more <= bytes) doublings_.store(more, std::memory_order_relaxed);
}

unsigned Depot::withdraw(SizeClass c, void** end, unsigned room) {
  const unsigned batch = kSizeClasses.batch[index_of(c)];
  if (room < batch) return 0;
  const std::uint32_t index = stack_.pop();
  if (index == BatchStack::kNone) return 0;
  const BatchRecord& record = record_at(index);
  if (record.depositor != thread_token() && was_full_.load(std::memory_order_relaxed)) {
    was_full_.store(false, std::memory_order_relaxed);
    wants_more_.store(true, std::memory_order_relaxed);
  }
  std::memcpy(end - batch, record.slots, batch * sizeof record.slots[0]);
  spare_records_.push(index);
  counts_.fetch_sub(1, std::memory_order_relaxed);
  return batch;
}

}  // namespace nebula
