// A number that whoever holds its lock writes, and that others may read at any moment: then it may be of another moment than its
// neighbours. relaxed: it orders nothing.
#pragma once

#include <atomic>
#include <cstdint>

namespace nebula {

template <class T>
class Readable {
 public:
  constexpr Readable(T value = 0) : value_(value) {}  // as a plain number does, it stands for itself
  Readable(const Readable& other) : value_(T{other}) {}
  Readable& operator=(const Readable& other) { return *this = T{other}; }
  Readable& operator=(T value) {
    value_.store(value, std::memory_order_relaxed);
    return *this;
  }
  operator T() const { return value_.load(std::memory_order_relaxed); }
  // By one thread at a time.
  Readable& operator+=(T more) { return *this = *this + more; }
  Readable& operator-=(T less) { return *this = *this - less; }
  Readable& operator++() { return *this += 1; }
  Readable& operator--() { return *this -= 1; }

 private:
  std::atomic<T> value_;
};

using Count = Readable<std::uint64_t>;

}  // namespace nebula
