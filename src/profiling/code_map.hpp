// The code that stacks lead through: modules (the program, its libraries) and the locations in them that were met. Each location
// is kept with the rule that unwinds its frame, so that the tables of a module are read once for it.
//
// Modules are found through _dl_find_object, which takes no lock and works in handlers and in children of fork. Names and build ids are
// noted when a module is first met: by the end it may be gone, or another one be at its place, and symbols are found
// afterwards, by somebody else. Tables of fixed size in mapped memory, of which pages are touched as they fill; filled without locks, never
// emptied.
#pragma once

#include <atomic>
#include <cstdint>
#include <string_view>

#include "profiling/unwind_rule.hpp"

namespace nebula {
class Text;
}

namespace nebula::profiling {

using ModuleIndex = std::uint16_t;    // 0: code of no module
using LocationIndex = std::uint16_t;  // 0: unknown, the table is full

struct Module {
  Address start = 0;  // of the mapping that holds it all
  Address end = 0;
  const void* link_map = nullptr;
  Address unwind_table = 0;
  // The segment with the code, as /proc/self/maps would show it.
  Address code_start = 0;
  Address code_end = 0;
  std::uint64_t code_offset = 0;  // in the file
  Address load_bias = 0;          // what is added to the file's addresses
  std::uint8_t build_id_bytes = 0;
  std::uint8_t name_bytes = 0;
  std::uint8_t build_id[32] = {};
  bool is_program = false;
  std::atomic<std::uint32_t> verified_at{0};  // how many libraries had been closed when it was last looked at
  char name[205] = {};

  [[nodiscard]] std::string_view path() const { return {name, name_bytes}; }
  [[nodiscard]] std::string_view file_name() const;  // the last part of it
  void write_build_id(Text& text) const;             // in hexadecimal digits
};

namespace code_map {

// Once, before anything else here: false when system or budget has no room for the tables.
[[nodiscard]] bool begin();

struct Place {
  ModuleIndex module = 0;
  LocationIndex location = 0;
  UnwindRule rule;
};
// Notes the location of this code.
[[nodiscard]] Place find(Address code);

// After a library was closed: what was met is looked at again.
void note_dlclose();

[[nodiscard]] unsigned modules();  // indices 1 to that
[[nodiscard]] const Module& module_at(ModuleIndex index);
struct Location {
  ModuleIndex module = 0;
  Address code = 0;  // 0: another thread is about to note it
};
[[nodiscard]] unsigned locations();  // indices 1 to that
[[nodiscard]] Location location_at(LocationIndex index);

struct Counts {
  std::uint64_t locations = 0;
  std::uint64_t not_noted = 0;  // lookups that found the table full
};
[[nodiscard]] Counts counts();

}  // namespace code_map
}  // namespace nebula::profiling
