// How a load reaches the allocator. A load is a template on `Calls`: PlainCalls is malloc and its siblings, nothing
// more; TimedCalls records the time of each call. Objects carry a tag in their first eight bytes, which is checked when
// they are freed: a block given out twice, or written by a stranger, ends the program.
#pragma once

#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "failure.hpp"
#include "latency.hpp"

namespace workload {

inline void* obtained(void* object) {
  if (!object) [[unlikely]]
    fail("out of memory");
  return object;
}

struct PlainCalls {
  static void* allocate(std::size_t size) { return obtained(std::malloc(size)); }
  static void* allocate_zeroed(std::size_t count, std::size_t size) { return obtained(std::calloc(count, size)); }
  static void* reallocate(void* object, std::size_t size) { return obtained(std::realloc(object, size)); }
  static void release(void* object) { std::free(object); }
  static void* create(std::size_t size) { return ::operator new(size); }
  static void destroy(void* object, std::size_t size) { ::operator delete(object, size); }
};

struct TimedCalls {
  static void* allocate(std::size_t size) {
    return timed(Call::kMalloc, [=] { return PlainCalls::allocate(size); });
  }
  static void* allocate_zeroed(std::size_t count, std::size_t size) {
    return timed(Call::kMalloc, [=] { return PlainCalls::allocate_zeroed(count, size); });
  }
  static void* reallocate(void* object, std::size_t size) {
    return timed(Call::kMalloc, [=] { return PlainCalls::reallocate(object, size); });
  }
  static void release(void* object) {
    timed(Call::kFree, [=] { return PlainCalls::release(object), true; });
  }
  static void* create(std::size_t size) {
    return timed(Call::kMalloc, [=] { return PlainCalls::create(size); });
  }
  static void destroy(void* object, std::size_t size) {
    timed(Call::kFree, [=] { return PlainCalls::destroy(object, size), true; });
  }
};

// For the containers of the standard library.
template <class T, class Calls>
struct Allocator {
  using value_type = T;
  template <class Other>
  struct rebind {
    using other = Allocator<Other, Calls>;
  };

  Allocator() = default;
  template <class Other>
  Allocator(const Allocator<Other, Calls>&) {}

  T* allocate(std::size_t count) { return static_cast<T*>(Calls::create(count * sizeof(T))); }
  void deallocate(T* objects, std::size_t count) { Calls::destroy(objects, count * sizeof(T)); }
  bool operator==(const Allocator&) const { return true; }
};

inline void mark(void* object, std::uint64_t tag) { *static_cast<volatile std::uint64_t*>(object) = tag; }

inline void check(const void* object, std::uint64_t tag) {
  const std::uint64_t found = *static_cast<const volatile std::uint64_t*>(object);
  if (found != tag) [[unlikely]]
    fail("the object at %p carries %#" PRIx64 " instead of %#" PRIx64 ": the allocator, or a stray write, broke it",
         object, found, tag);
}

// At least eight bytes.
template <class Calls>
void* allocate_marked(std::size_t size, std::uint64_t tag) {
  void* const object = Calls::allocate(size);
  mark(object, tag);
  return object;
}

template <class Calls>
void release_marked(void* object, std::uint64_t tag) {
  check(object, tag);
  Calls::release(object);
}

}  // namespace workload
