#include "os/vdso.hpp"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#include <cstring>

namespace nebula::os {

// Looks the function up in the vDSO's symbol table; how many symbols there are stands in its hash table.
std::uintptr_t find_in_vdso(const char* name) {
  const auto base = getauxval(AT_SYSINFO_EHDR);
  if (base == 0) return 0;
  const auto* const header = reinterpret_cast<const ElfW(Ehdr)*>(base);
  const auto* const segments = reinterpret_cast<const ElfW(Phdr)*>(base + header->e_phoff);
  const ElfW(Dyn)* dynamic = nullptr;
  std::uintptr_t offset = 0;
  bool is_loaded = false;
  for (int i = 0; i < header->e_phnum; ++i) {
    if (segments[i].p_type == PT_DYNAMIC) dynamic = reinterpret_cast<const ElfW(Dyn)*>(base + segments[i].p_offset);
    if (segments[i].p_type != PT_LOAD || is_loaded) continue;
    offset = base + segments[i].p_offset - segments[i].p_vaddr;
    is_loaded = true;
  }
  if (dynamic == nullptr || !is_loaded) return 0;
  const char* names = nullptr;
  const ElfW(Sym)* symbols = nullptr;
  const std::uint32_t* hash = nullptr;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    const std::uintptr_t place = offset + dynamic->d_un.d_ptr;
    if (dynamic->d_tag == DT_STRTAB) names = reinterpret_cast<const char*>(place);
    if (dynamic->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(place);
    if (dynamic->d_tag == DT_HASH) hash = reinterpret_cast<const std::uint32_t*>(place);
  }
  if (names == nullptr || symbols == nullptr || hash == nullptr) return 0;
  for (std::uint32_t i = 0; i < hash[1]; ++i)
    if (symbols[i].st_shndx != SHN_UNDEF && std::strcmp(names + symbols[i].st_name, name) == 0)
      return offset + symbols[i].st_value;
  return 0;
}

}  // namespace nebula::os
