// A load's own bookkeeping, straight from the system and resident from the start, so that what changes later is the
// allocator's.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <type_traits>

#include "failure.hpp"

namespace workload {

template <class T>
class Array {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  // All bytes are zero.
  explicit Array(std::size_t size) : size_(size) {
    void* const memory = ::mmap(nullptr, size * sizeof(T), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) fail("no memory for an array of %zu", size);
    items_ = static_cast<T*>(memory);
  }
  ~Array() { ::munmap(items_, size_ * sizeof(T)); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  T& operator[](std::size_t i) { return items_[i]; }
  std::size_t size() const { return size_; }
  T* begin() { return items_; }
  T* end() { return items_ + size_; }

 private:
  T* items_;
  std::size_t size_;
};

}  // namespace workload
