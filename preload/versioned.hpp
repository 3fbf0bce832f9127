// The structs of nebula/nebula.h that begin with their size, as the program that was built with some version of the header has it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nebula {

// Whether a struct has room for something behind its size.
template <class Versioned>
bool has_room(const Versioned* given) {
  return given != nullptr && given->size >= sizeof(given->size) + sizeof(std::uint64_t);
}

// As much as there is room for; zeros behind it, in fields that only a newer library knows. The size stays.
template <class Versioned>
void give(Versioned* to, Versioned known) {
  const std::size_t size = to->size;
  known.size = size;
  std::memcpy(to, &known, size < sizeof known ? size : sizeof known);
  if (size > sizeof known) std::memset(reinterpret_cast<char*>(to) + sizeof known, 0, size - sizeof known);
}

// What the program wishes: zeros where it says nothing. False when the size is none, or there are wishes that only a newer library
// knows.
template <class Versioned>
bool read(const Versioned* given, Versioned& wishes) {
  wishes = {};
  if (given == nullptr) return true;
  if (!has_room(given)) return false;
  const std::size_t size = given->size;
  std::memcpy(&wishes, given, size < sizeof wishes ? size : sizeof wishes);
  const char* const bytes = reinterpret_cast<const char*>(given);
  for (std::size_t i = sizeof wishes; i < size; ++i)
    if (bytes[i] != 0) return false;
  return true;
}

}  // namespace nebula
