// Relaxed accesses for the fast paths. Compilers keep an atomic access apart from the instruction that uses its value; as
// a plain access of an aligned word, which on x86-64 is the very same one, it becomes that instruction's memory operand: ten
// instructions less in a pair of malloc and free. What is read here is read once per call, so the compiler has nothing to
// merge or repeat. ThreadSanitizer builds use the atomic access.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_THREAD__)
#define NEBULA_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NEBULA_THREAD_SANITIZER 1
#endif
#endif

namespace nebula {

template <class T>
[[gnu::always_inline]] inline T fast_load(const std::atomic<T>& from) {
  static_assert(sizeof(std::atomic<T>) == sizeof(T) && std::atomic<T>::is_always_lock_free);
#if defined(NEBULA_THREAD_SANITIZER)
  return from.load(std::memory_order_relaxed);
#else
  return *reinterpret_cast<const T*>(&from);
#endif
}

// The same index or pointer, of which the compiler no longer knows that it is: two accesses then both use it in their address, where
// else a lea would compute a common one first, on the fast path also for what lies beside it.
template <class T>
[[gnu::always_inline]] inline T same(T value) {
#if !defined(NEBULA_THREAD_SANITIZER)
  asm("" : "+r"(value));
#endif
  return value;
}
[[gnu::always_inline]] inline std::size_t same_index(std::size_t index) { return same(index); }

// The low 16 bits of a word that only this thread writes. All of it is loaded, as it was stored: a load of a part of what was just
// stored comes later (Zen 5: threadtest, trees and shbench/sh6 take 2 % more).
[[gnu::always_inline]] inline std::uint16_t fast_load_low(const std::atomic<std::uint64_t>& from) {
  return static_cast<std::uint16_t>(same(fast_load(from)));
}

// Adds to a word that only this thread writes: one instruction, not locked, whose store commits the step. Release: what the
// thread wrote before is seen by whoever sees the new value; on x86-64 every store is one, so only the compiler is told.
template <std::uint32_t kAmount>
[[gnu::always_inline]] inline void fast_add(std::atomic<std::uint64_t>& to) {
  static_assert(kAmount <= 0x7fff'ffff);
#if defined(NEBULA_THREAD_SANITIZER)
  to.store(to.load(std::memory_order_relaxed) + kAmount, std::memory_order_release);
#else
  asm volatile("addq %1, %0" : "+m"(*reinterpret_cast<std::uint64_t*>(&to)) : "i"(kAmount) : "memory", "cc");
#endif
}

// The same to word `index` of the array that lies so many bytes behind `base`. For where the word was loaded before: the compiler would
// keep its address then, and that takes an instruction.
template <std::uint32_t kAmount, std::size_t kOffset>
[[gnu::always_inline]] inline void fast_add_at(void* base, std::size_t index) {
#if defined(NEBULA_THREAD_SANITIZER)
  fast_add<kAmount>(reinterpret_cast<std::atomic<std::uint64_t>*>(static_cast<char*>(base) + kOffset)[index]);
#else
  asm volatile("addq %2, %c3(%0,%1,8)" : : "r"(base), "r"(index), "i"(kAmount), "i"(kOffset) : "memory", "cc");
#endif
}

}  // namespace nebula
