#include "profiling/code_map.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <cstring>

#include "diag/text.hpp"
#include "os/memory.hpp"
#include "os/process.hpp"
#include "profiling/room.hpp"

// glibc 2.35. Weak: on an older one, code is of no module and stacks are followed by frame pointers alone.
extern "C" __attribute__((weak)) int _dl_find_object(void* address, struct dl_find_object* result) noexcept;

namespace nebula::profiling {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr unsigned kModulesMost = 511;
constexpr unsigned kModuleSlots = 1024;
constexpr unsigned kLocationsMost = 32 * 1024;
constexpr unsigned kLocationSlots = 64 * 1024;
constexpr unsigned kProbesMost = 64;
constexpr unsigned kModuleShift = 48;

// One behind the other, so that few pages are touched; found by the slots, which hold their indices.
struct LocationRecord {
  std::atomic<std::uint64_t> key;   // the module above the address; 0: not yet
  std::atomic<std::uint64_t> rule;  // packed; 0: not found yet
};

// Set by begin(), before any thread looks for code.
constinit LocationRecord* location_records = nullptr;
constinit std::atomic<LocationIndex>* location_slots = nullptr;
constinit Module* module_room = nullptr;
constinit std::atomic<std::uint16_t> module_slots[kModuleSlots] = {};
constinit std::atomic<std::uint32_t> modules_used{0};
constinit std::atomic<std::uint32_t> locations_used{0};
constinit std::atomic<std::uint64_t> not_noted{0};
constinit std::atomic<std::uint32_t> libraries_closed{0};
constinit char program_path[sizeof(Module::name)] = {};
constinit std::size_t program_path_bytes = 0;

unsigned hash_of(std::uint64_t value) { return static_cast<unsigned>(value * 0x9e37'79b9'7f4a'7c15 >> 32); }

void note_name(Module& module, const char* name) {
  std::size_t bytes = std::strlen(name);
  module.is_program = bytes == 0;
  if (module.is_program) {
    name = program_path;
    bytes = program_path_bytes;
  }
  if (bytes > sizeof module.name) {  // the end says more
    name += bytes - sizeof module.name;
    bytes = sizeof module.name;
  }
  std::memcpy(module.name, name, bytes);
  module.name_bytes = static_cast<std::uint8_t>(bytes);
}

void note_build_id(Module& module, Address notes, std::size_t bytes) {
  while (bytes >= sizeof(ElfW(Nhdr))) {
    const auto& note = *reinterpret_cast<const ElfW(Nhdr)*>(notes);
    const std::size_t name_bytes = (note.n_namesz + 3u) & ~3u;
    const std::size_t all = sizeof note + name_bytes + ((note.n_descsz + 3u) & ~3u);
    if (all > bytes) return;
    const Address name = notes + sizeof note;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(reinterpret_cast<const void*>(name), "GNU", 4) == 0 &&
        note.n_descsz <= sizeof module.build_id) {
      std::memcpy(module.build_id, reinterpret_cast<const void*>(name + name_bytes), note.n_descsz);
      module.build_id_bytes = static_cast<std::uint8_t>(note.n_descsz);
      return;
    }
    notes += all;
    bytes -= all;
  }
}

// The program headers lie at the start of every module that linkers make; code at `code`.
void note_segments(Module& module, Address code) {
  if (!os::is_readable(module.start)) return;
  const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(module.start);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phoff + header.e_phnum * sizeof(ElfW(Phdr)) > kPageSize) return;
  const auto* const segments = reinterpret_cast<const ElfW(Phdr)*>(module.start + header.e_phoff);
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    const ElfW(Phdr)& segment = segments[i];
    const Address start = module.load_bias + segment.p_vaddr;
    if (segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0 && code - start < segment.p_memsz) {
      module.code_start = start & ~(kPageSize - 1);
      module.code_end = (start + segment.p_memsz + kPageSize - 1) & ~(kPageSize - 1);
      module.code_offset = segment.p_offset & ~(kPageSize - 1);
    }
    if (segment.p_type == PT_NOTE && module.build_id_bytes == 0 && os::is_readable(start & ~Address{7}))
      note_build_id(module, start, segment.p_memsz);
  }
}

bool is_same(const Module& module, const dl_find_object& object) {
  return module.start == reinterpret_cast<Address>(object.dlfo_map_start) && module.link_map == object.dlfo_link_map &&
         module.end == reinterpret_cast<Address>(object.dlfo_map_end) && module.unwind_table == reinterpret_cast<Address>(object.dlfo_eh_frame);
}

void describe(Module& module, const dl_find_object& object, Address code) {
  module.start = reinterpret_cast<Address>(object.dlfo_map_start);
  module.end = reinterpret_cast<Address>(object.dlfo_map_end);
  module.link_map = object.dlfo_link_map;
  module.unwind_table = reinterpret_cast<Address>(object.dlfo_eh_frame);
  module.load_bias = object.dlfo_link_map->l_addr;
  module.code_start = module.start;
  module.code_end = module.end;
  note_name(module, object.dlfo_link_map->l_name);
  note_segments(module, code);
}

// Since a dlclose another library of the same layout may lie at the very place, with the loader's record of it where the other's was.
bool is_still(Module& module, const dl_find_object& object, Address code) {
  // relaxed: a closing thread that maps another library there tells whoever runs its code in its own way, after it counted.
  const std::uint32_t closed = libraries_closed.load(kRelaxed);
  if (module.verified_at.load(kRelaxed) == closed) return true;
  Module now;
  describe(now, object, code);
  if (now.path() != module.path() || std::memcmp(now.build_id, module.build_id, sizeof now.build_id) != 0) return false;
  module.verified_at.store(closed, kRelaxed);
  return true;
}

// 0 when there are too many.
ModuleIndex add_module(const dl_find_object& object, Address code) {
  const std::uint32_t before = modules_used.fetch_add(1, kRelaxed);
  if (before >= kModulesMost) {
    modules_used.fetch_sub(1, kRelaxed);
    return 0;
  }
  const auto index = static_cast<ModuleIndex>(before + 1);
  Module& module = module_room[index];
  module.verified_at.store(libraries_closed.load(kRelaxed), kRelaxed);
  describe(module, object, code);
  return index;
}

ModuleIndex find_module(Address code, Address& unwind_table) {
  dl_find_object object;
  if (&_dl_find_object == nullptr || _dl_find_object(reinterpret_cast<void*>(code), &object) != 0) return 0;
  unwind_table = reinterpret_cast<Address>(object.dlfo_eh_frame);
  const unsigned hash = hash_of(reinterpret_cast<Address>(object.dlfo_map_start) >> kPageShift);
  for (unsigned i = 0; i < kProbesMost; ++i) {
    std::atomic<std::uint16_t>& slot = module_slots[(hash + i) % kModuleSlots];
    // acquire: pairs with the release below, so the module is seen whole.
    std::uint16_t index = slot.load(std::memory_order_acquire);
    if (index == 0) {
      const ModuleIndex added = add_module(object, code);
      if (added == 0) return 0;
      // Two threads that meet a module at once note it twice, if both get a slot; it does no harm.
      if (slot.compare_exchange_strong(index, added, std::memory_order_release, std::memory_order_acquire)) return added;
    }
    if (is_same(module_room[index], object) && is_still(module_room[index], object, code)) return index;
  }
  return 0;
}

// 0 when there are too many.
LocationIndex add_location(std::uint64_t key) {
  const std::uint32_t before = locations_used.fetch_add(1, kRelaxed);
  if (before >= kLocationsMost) {
    locations_used.fetch_sub(1, kRelaxed);
    return 0;
  }
  location_records[before].key.store(key, kRelaxed);
  return static_cast<LocationIndex>(before + 1);
}

// 0 when the table is full.
LocationIndex find_location(std::uint64_t key) {
  const unsigned hash = hash_of(key);
  LocationIndex mine = 0;
  for (unsigned i = 0; i < kProbesMost; ++i) {
    std::atomic<LocationIndex>& slot = location_slots[(hash + i) % kLocationSlots];
    // acquire: pairs with the release below, so that the key is seen.
    LocationIndex found = slot.load(std::memory_order_acquire);
    if (found == 0) {
      if (mine == 0) mine = add_location(key);
      if (mine == 0) break;
      // Of two threads that meet a location at once one has noted it for nothing, which does no harm.
      if (slot.compare_exchange_strong(found, mine, std::memory_order_release, std::memory_order_acquire)) return mine;
    }
    if (location_records[found - 1].key.load(kRelaxed) == key) return found;
  }
  not_noted.fetch_add(1, kRelaxed);
  return 0;
}

}  // namespace

std::string_view Module::file_name() const {
  std::size_t file = name_bytes;
  while (file != 0 && name[file - 1] != '/') --file;
  return {name + file, name_bytes - file};
}

void Module::write_build_id(Text& text) const {
  for (unsigned at = 0; at < 2u * build_id_bytes; ++at) text << "0123456789abcdef"[build_id[at / 2] >> (at % 2 == 0 ? 4 : 0) & 15];
}

namespace code_map {

bool begin() {
  program_path_bytes = os::program_path(program_path);
  location_records = static_cast<LocationRecord*>(room::allocate(kLocationsMost * sizeof(LocationRecord)));
  location_slots = static_cast<std::atomic<LocationIndex>*>(room::allocate(kLocationSlots * sizeof *location_slots));
  module_room = static_cast<Module*>(room::allocate((kModulesMost + 1) * sizeof(Module)));
  return location_records != nullptr && location_slots != nullptr && module_room != nullptr;
}

Place find(Address code) {
  Place place;
  Address unwind_table = 0;
  place.module = find_module(code, unwind_table);
  place.location = find_location(std::uint64_t{place.module} << kModuleShift | code);
  if (place.location == 0) {
    place.rule = find_unwind_rule(unwind_table, code);
    return place;
  }
  // relaxed: a location's rule is the same whoever finds it.
  std::atomic<std::uint64_t>& rule = location_records[place.location - 1].rule;
  const std::uint64_t known = rule.load(kRelaxed);
  place.rule = known != 0 ? UnwindRule::unpacked(known) : find_unwind_rule(unwind_table, code);
  if (known == 0) rule.store(place.rule.packed(), kRelaxed);
  return place;
}

void note_dlclose() { libraries_closed.fetch_add(1, kRelaxed); }

unsigned modules() {
  const std::uint32_t used = modules_used.load(kRelaxed);
  return used < kModulesMost ? used : kModulesMost;
}

const Module& module_at(ModuleIndex index) { return module_room[index]; }

unsigned locations() {
  const std::uint32_t used = locations_used.load(kRelaxed);
  return used < kLocationsMost ? used : kLocationsMost;
}

Location location_at(LocationIndex index) {
  const std::uint64_t key = location_records[index - 1].key.load(kRelaxed);
  return {static_cast<ModuleIndex>(key >> kModuleShift), key & ((std::uint64_t{1} << kModuleShift) - 1)};
}

Counts counts() { return {locations(), not_noted.load(kRelaxed)}; }

}  // namespace code_map
}  // namespace nebula::profiling
