// Threads whose bookkeeping lies on the caller's stack: std::thread would allocate.
#pragma once

#include <pthread.h>

#include "failure.hpp"

namespace workload {

constexpr unsigned kMostThreads = 128;

inline pthread_t start_thread(void* (*entry)(void*), void* argument) {
  pthread_t thread;
  if (const int error = ::pthread_create(&thread, nullptr, entry, argument); error != 0)
    fail("a thread could not be started: error %d", error);
  return thread;
}

inline void join_thread(pthread_t thread) {
  if (const int error = ::pthread_join(thread, nullptr); error != 0) fail("a thread was lost: error %d", error);
}

// Runs body(0) to body(count - 1), each in a thread of its own, and waits for all.
template <class Body>
void run_threads(unsigned count, Body&& body) {
  struct Member {
    Body* body;
    unsigned index;
    pthread_t thread;
  };
  Member members[kMostThreads];
  for (unsigned i = 0; i < count; ++i) {
    members[i].body = &body;
    members[i].index = i;
    members[i].thread = start_thread(
        [](void* argument) -> void* {
          const auto* member = static_cast<const Member*>(argument);
          (*member->body)(member->index);
          return nullptr;
        },
        &members[i]);
  }
  for (unsigned i = 0; i < count; ++i) join_thread(members[i].thread);
}

class Barrier {
 public:
  explicit Barrier(unsigned count) { ::pthread_barrier_init(&barrier_, nullptr, count); }
  ~Barrier() { ::pthread_barrier_destroy(&barrier_); }
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;
  void wait() { ::pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

}  // namespace workload
