// The lock, and the marker that a thread is inside the allocator's slow path.
//
// A lock is one word: 0 when free, else the holder's token, its lowest bit set when somebody may be asleep. It spins
// about 60 times (an uncontended critical section here is shorter than that), then sleeps in the kernel: a pure spin
// lock loses two to three times when threads outnumber cores. After Drepper, "Futexes Are Tricky" (2011), mutex 2.
//
// Locks have ranks and are taken in rising rank only, and those of classes, spans and the gauge under a gate (or tenants' lock) only, so that whoever
// has these finds the others free; debug builds check both.
#pragma once

#include <atomic>
#include <cstdint>

namespace nebula {

#if defined(__clang__)
#define NEBULA_CAPABILITY(name) __attribute__((capability(name)))
#define NEBULA_SCOPED_CAPABILITY __attribute__((scoped_lockable))
#define NEBULA_GUARDED_BY(lock) __attribute__((guarded_by(lock)))
#define NEBULA_PT_GUARDED_BY(lock) __attribute__((pt_guarded_by(lock)))
#define NEBULA_ACQUIRE(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define NEBULA_TRY_ACQUIRE(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define NEBULA_RELEASE(...) __attribute__((release_capability(__VA_ARGS__)))
#define NEBULA_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define NEBULA_UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define NEBULA_CAPABILITY(name)
#define NEBULA_SCOPED_CAPABILITY
#define NEBULA_GUARDED_BY(lock)
#define NEBULA_PT_GUARDED_BY(lock)
#define NEBULA_ACQUIRE(...)
#define NEBULA_TRY_ACQUIRE(...)
#define NEBULA_RELEASE(...)
#define NEBULA_REQUIRES(...)
#define NEBULA_UNCHECKED
#endif

// Of the many locks of classes the rank is 0, so that they cost no byte of the file.
enum class LockRank : std::int8_t { kRegistry = -3, kGate, kTenants, kClass, kSpans, kGauge, kLeaf, kEnd };

class NEBULA_CAPABILITY("lock") Lock {
 public:
  constexpr explicit Lock(LockRank rank) : rank_(rank) {}
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void lock() NEBULA_ACQUIRE();
  [[nodiscard]] bool try_lock() NEBULA_TRY_ACQUIRE(true);
  // For reports: gives up after about `milliseconds`, at once for 0.
  [[nodiscard]] bool try_lock_for(unsigned milliseconds) NEBULA_TRY_ACQUIRE(true);
  void unlock() NEBULA_RELEASE();

  // For a lock that is made while this thread holds all others: it holds this one too from then on.
  void lock_with_all_others() NEBULA_UNCHECKED;

  // Whether no lock of a class, of spans or of the gauge is taken without a gate, from now on.
  static void expect_gates(bool expected);

  // Whether some thread has it, now.
  [[nodiscard]] bool is_held() const { return word_.load(std::memory_order_relaxed) != 0; }
  [[nodiscard]] bool is_mine() const;
  // How often a thread had to wait. Exact while the lock is held.
  [[nodiscard]] std::uint64_t contended() const { return contended_.load(std::memory_order_relaxed); }
  // In the child of fork, for a lock whose holder did not come along. Written only if need be: a page that is written is copied.
  void reset_in_child() NEBULA_UNCHECKED {
    if (is_held()) word_.store(0, std::memory_order_relaxed);
  }

 private:
  void lock_slow(std::uint32_t token);
  void note_acquired();
  void count_held();
  void note_released();

  std::atomic<std::uint32_t> word_{0};
  LockRank rank_;
  std::atomic<std::uint64_t> contended_{0};  // written by holders only
};

class NEBULA_SCOPED_CAPABILITY LockGuard {
 public:
  explicit LockGuard(Lock& lock) NEBULA_ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
  ~LockGuard() NEBULA_RELEASE() { lock_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

// Tells the threads of a process apart; never 0. See my_token in lock.cpp for how well.
[[nodiscard]] std::uint32_t thread_token();

// Set while this thread holds all gates, for fork, and so may do as if it held every lock there is: what it allocates in between, in
// other libraries' fork handlers, needs to take none.
extern constinit thread_local bool holds_every_lock;

// Set while this thread is in a slow path and may hold locks: whoever comes in again on the same thread is a signal
// handler (or code called by one) and must not take any.
extern constinit thread_local bool in_slow_path;

class SlowPath {
 public:
  SlowPath() : entered_(!in_slow_path) { in_slow_path = true; }
  ~SlowPath() {
    if (entered_) in_slow_path = false;
  }
  SlowPath(const SlowPath&) = delete;
  SlowPath& operator=(const SlowPath&) = delete;
  [[nodiscard]] bool entered() const { return entered_; }

 private:
  bool entered_;
};

}  // namespace nebula
