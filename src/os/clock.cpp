// The clock, straight from the kernel's vDSO: no system call, and none of libc's symbols, which other preloaded
// libraries (fake clocks, monitors) replace by functions of theirs that allocate.
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>
#include <cstring>

#include "os/process.hpp"
#include "os/system_call.hpp"

namespace nebula::os {
namespace {

using ClockFunction = int (*)(clockid_t, timespec*);

int clock_by_system_call(clockid_t clock, timespec* now) {
  return static_cast<int>(system_call(SYS_clock_gettime, clock, reinterpret_cast<long>(now)));
}

// Looks the function up in the vDSO's symbol table; how many symbols there are stands in its hash table.
ClockFunction find_in_vdso() {
  const auto base = getauxval(AT_SYSINFO_EHDR);
  if (base == 0) return nullptr;
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
  if (dynamic == nullptr || !is_loaded) return nullptr;
  const char* names = nullptr;
  const ElfW(Sym)* symbols = nullptr;
  const std::uint32_t* hash = nullptr;
  for (; dynamic->d_tag != DT_NULL; ++dynamic) {
    const std::uintptr_t place = offset + dynamic->d_un.d_ptr;
    if (dynamic->d_tag == DT_STRTAB) names = reinterpret_cast<const char*>(place);
    if (dynamic->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(place);
    if (dynamic->d_tag == DT_HASH) hash = reinterpret_cast<const std::uint32_t*>(place);
  }
  if (names == nullptr || symbols == nullptr || hash == nullptr) return nullptr;
  for (std::uint32_t i = 0; i < hash[1]; ++i)
    if (symbols[i].st_shndx != SHN_UNDEF && std::strcmp(names + symbols[i].st_name, "__vdso_clock_gettime") == 0)
      return reinterpret_cast<ClockFunction>(offset + symbols[i].st_value);
  return nullptr;
}

timespec read_clock(clockid_t clock) {
  static constinit std::atomic<ClockFunction> known{nullptr};
  // relaxed: a pointer to code that was always there; whoever looks it up twice finds the same.
  ClockFunction function = known.load(std::memory_order_relaxed);
  if (function == nullptr) {
    function = find_in_vdso();
    if (function == nullptr) function = clock_by_system_call;
    known.store(function, std::memory_order_relaxed);
  }
  timespec now = {};
  function(clock, &now);
  return now;
}

}  // namespace

std::uint64_t coarse_milliseconds() {
  const timespec now = read_clock(CLOCK_MONOTONIC_COARSE);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

std::uint64_t nanoseconds() {
  const timespec now = read_clock(CLOCK_MONOTONIC);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace nebula::os
