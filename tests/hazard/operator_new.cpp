// Every form of operator new and delete; a refused one calls the new handler until that gives up, then throws bad_alloc.
// Argument "budget": refusals come from a limit that is reached, not from an absurd size.
#include "check.h"

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace {

int calls;
std::vector<void *> hoard;

void give_up_at_third_call() {
  if (++calls == 3) std::set_new_handler(nullptr);
}

void throw_own() { throw 42; }

void throw_bad_alloc() { throw std::bad_alloc(); }

void release_hoard() {
  ++calls;
  for (void *object : hoard) std::free(object);
  hoard.clear();
  std::set_new_handler(nullptr);
}

constexpr std::align_val_t kAlignment{256};

void check_forms(std::size_t size) {
  struct Deleter {
    void *object;
    void (*release)(void *, std::size_t);
  };
  const Deleter objects[] = {
      {::operator new(size), [](void *p, std::size_t) { ::operator delete(p); }},
      {::operator new(size), [](void *p, std::size_t n) { ::operator delete(p, n); }},
      {::operator new(size), [](void *p, std::size_t) { ::operator delete(p, std::nothrow); }},
      {::operator new[](size), [](void *p, std::size_t) { ::operator delete[](p); }},
      {::operator new[](size), [](void *p, std::size_t n) { ::operator delete[](p, n); }},
      {::operator new[](size), [](void *p, std::size_t) { ::operator delete[](p, std::nothrow); }},
      {::operator new(size, std::nothrow), [](void *p, std::size_t) { ::operator delete(p); }},
      {::operator new[](size, std::nothrow), [](void *p, std::size_t) { ::operator delete[](p); }},
      {::operator new(size, kAlignment), [](void *p, std::size_t) { ::operator delete(p, kAlignment); }},
      {::operator new(size, kAlignment), [](void *p, std::size_t n) { ::operator delete(p, n, kAlignment); }},
      {::operator new(size, kAlignment), [](void *p, std::size_t) { ::operator delete(p, kAlignment, std::nothrow); }},
      {::operator new[](size, kAlignment), [](void *p, std::size_t) { ::operator delete[](p, kAlignment); }},
      {::operator new[](size, kAlignment), [](void *p, std::size_t n) { ::operator delete[](p, n, kAlignment); }},
      {::operator new[](size, kAlignment), [](void *p, std::size_t) { ::operator delete[](p, kAlignment, std::nothrow); }},
      {::operator new(size, kAlignment, std::nothrow), [](void *p, std::size_t) { ::operator delete(p, kAlignment); }},
      {::operator new[](size, kAlignment, std::nothrow), [](void *p, std::size_t) { ::operator delete[](p, kAlignment); }},
  };
  constexpr int kFirstAligned = 8;
  for (int i = 0; i < 16; ++i) {
    CHECK(objects[i].object != nullptr);
    CHECK(is_aligned(objects[i].object, i < kFirstAligned ? 16 : 256));
    std::memset(hide(objects[i].object), i, size);
  }
  for (int i = 0; i < 16; ++i) objects[i].release(hide(objects[i].object), size);
}

template <typename Allocate>
void check_refusal(Allocate allocate) {
  calls = 0;
  std::set_new_handler(give_up_at_third_call);
  bool thrown = false;
  try {
    allocate();
  } catch (const std::bad_alloc &) {
    thrown = true;
  }
  CHECK(thrown);
  CHECK(calls == 3);

  std::set_new_handler(throw_own);
  int caught = 0;
  try {
    allocate();
  } catch (int value) {
    caught = value;
  }
  CHECK(caught == 42);
  std::set_new_handler(nullptr);
}

template <typename Allocate>
void check_nothrow_refusal(Allocate allocate) {
  calls = 0;
  std::set_new_handler(give_up_at_third_call);
  CHECK(allocate() == nullptr);
  CHECK(calls == 3);
  std::set_new_handler(throw_bad_alloc);
  CHECK(allocate() == nullptr);
  std::set_new_handler(nullptr);
}

}  // namespace

int main(int count, char **arguments) {
  const bool budget = count > 1 && std::strcmp(arguments[1], "budget") == 0;
  const std::size_t refused = budget ? 512 * MIB : PTRDIFF_MAX;

  for (std::size_t size : {0, 1, 40, 1000, 20000, 100000, 3000000}) check_forms(size);

  const auto opaque = [=] { return reinterpret_cast<std::size_t>(hide(reinterpret_cast<void *>(refused))); };
  check_refusal([=] { return ::operator new(opaque()); });
  check_refusal([=] { return ::operator new[](opaque()); });
  check_refusal([=] { return ::operator new(opaque(), kAlignment); });
  check_refusal([=] { return ::operator new[](opaque(), kAlignment); });
  check_nothrow_refusal([=] { return ::operator new(opaque(), std::nothrow); });
  check_nothrow_refusal([=] { return ::operator new[](opaque(), std::nothrow); });
  check_nothrow_refusal([=] { return ::operator new(opaque(), kAlignment, std::nothrow); });
  check_nothrow_refusal([=] { return ::operator new[](opaque(), kAlignment, std::nothrow); });

  bool thrown = false;
  try {
    std::vector<long> longs(budget ? refused / sizeof(long) : std::vector<long>().max_size());
    hide(longs.data());
  } catch (const std::bad_alloc &) {
    thrown = true;
  }
  CHECK(thrown);

  if (budget) {
    hoard.reserve(4096);
    while (void *object = std::malloc(100000)) {
      hoard.push_back(object);
      CHECK(hoard.size() < 4096);
    }
    calls = 0;
    std::set_new_handler(release_hoard);
    void *object = ::operator new(20 * MIB);
    CHECK(object != nullptr);
    CHECK(calls == 1);
    ::operator delete(object);
  }
  check_forms(64);
  std::puts("finished");
}
