// A bounded queue between two threads.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <thread>

namespace bench {

// One writer, one reader. Each side keeps its index on a cache line of its own; a full or empty ring yields, so that
// a load also ends when threads outnumber processors.
template <class Item, std::size_t kCapacity>
class Ring {
 public:
  bool try_push(const Item& item) {
    const std::size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) == kCapacity) return false;  // pairs with pop's release
    slots_[tail % kCapacity] = item;
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  bool try_pop(Item& item) {
    const std::size_t head = head_.load(std::memory_order_relaxed);
    if (tail_.load(std::memory_order_acquire) == head) return false;  // pairs with push's release
    item = slots_[head % kCapacity];
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  void push(const Item& item) {
    while (!try_push(item)) std::this_thread::yield();
  }

  Item pop() {
    Item item;
    while (!try_pop(item)) std::this_thread::yield();
    return item;
  }

 private:
  alignas(128) std::atomic<std::size_t> head_{0};
  alignas(128) std::atomic<std::size_t> tail_{0};
  alignas(128) std::array<Item, kCapacity> slots_{};
};

}  // namespace bench
