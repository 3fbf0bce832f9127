// The pages of a thread heap: charged one by one as pools grow.
#include <bit>

#include "base/bits.hpp"
#include "thread_heap/registry.hpp"

namespace nebula {

std::size_t missing_pages(const ThreadHeap& heap, std::size_t first_byte, std::size_t end_byte) {
  std::size_t missing = 0;
  for (std::size_t page = first_byte / kPageSize; page < pages_for(end_byte).count; ++page)
    missing += ~heap.committed_pages[page / 64] >> (page % 64) & 1;
  return missing;
}

bool commit_bytes(ThreadHeap& heap, std::size_t first_byte, std::size_t end_byte) {
  const std::size_t missing = missing_pages(heap, first_byte, end_byte);
  if (missing == 0) return true;
  if (!pages::commit_metadata(missing * kPageSize)) return false;
  for (std::size_t page = first_byte / kPageSize; page < pages_for(end_byte).count; ++page)
    heap.committed_pages[page / 64] |= std::uint64_t{1} << (page % 64);
  return true;
}

bool commit_slots(ThreadHeap& heap, unsigned first, unsigned end) {
  return commit_bytes(heap, byte_of_slot(first), byte_of_slot(end));
}

bool are_slots_committed(const ThreadHeap& heap, unsigned first, unsigned end) {
  return missing_pages(heap, byte_of_slot(first), byte_of_slot(end)) == 0;
}

bool map_part(ThreadHeap& heap, bool& is_mapped, std::size_t first, std::size_t end) {
  if (!is_mapped) is_mapped = pages::map_piece(reinterpret_cast<Address>(&heap) + first, end - first);
  return is_mapped;
}

void give_back_room(ThreadHeap& heap, std::size_t first, std::size_t end) {
  const std::size_t grown = pages_for(end - first).count - missing_pages(heap, first, end);
  if (grown == 0 || !pages::purge_metadata(reinterpret_cast<Address>(&heap) + first, end - first, grown * kPageSize)) return;
  for (std::size_t page = first / kPageSize; page < end / kPageSize; ++page)
    heap.committed_pages[page / 64] &= ~(std::uint64_t{1} << (page % 64));
}

Pages room_of(const ThreadHeap& heap) {
  std::size_t pages = 0;
  for (const std::uint64_t bits : heap.committed_pages) pages += static_cast<std::size_t>(std::popcount(bits));
  return {pages};
}

}  // namespace nebula
