#include "tool/executable.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <sstream>

#include "tool/command.hpp"
#include "tool/programs.hpp"

namespace nebula::tool {
namespace {

namespace fs = std::filesystem;

// A file that libelf has open.
class ElfFile {
 public:
  explicit ElfFile(const fs::path& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) return;
    elf_version(EV_CURRENT);
    elf_ = elf_begin(descriptor_, ELF_C_READ_MMAP, nullptr);
  }
  ~ElfFile() {
    elf_end(elf_);
    if (descriptor_ >= 0) close(descriptor_);
  }
  ElfFile(const ElfFile&) = delete;
  ElfFile& operator=(const ElfFile&) = delete;
  [[nodiscard]] bool is_open() const { return descriptor_ >= 0; }
  [[nodiscard]] Elf* get() const { return elf_; }

 private:
  int descriptor_;
  Elf* elf_ = nullptr;
};

std::string interpreter_of(Elf* elf) {
  std::size_t count = 0;
  elf_getphdrnum(elf, &count);
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf, static_cast<int>(i), &header) == nullptr || header.p_type != PT_INTERP) continue;
    std::size_t size = 0;
    const char* const file = elf_rawfile(elf, &size);
    if (file == nullptr || header.p_offset >= size || header.p_filesz > size - header.p_offset || header.p_filesz == 0) return {};
    return {file + header.p_offset, header.p_filesz - 1};
  }
  return {};
}

template <class Visitor>
void for_each_section(Elf* elf, Visitor visit) {
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_entsize == 0) continue;
    if (Elf_Data* const data = elf_getdata(section, nullptr)) visit(header, data);
  }
}

void read_sections(Elf* elf, Executable& result) {
  for_each_section(elf, [&](const GElf_Shdr& header, Elf_Data* data) {
    const int count = static_cast<int>(header.sh_size / header.sh_entsize);
    if (header.sh_type == SHT_DYNAMIC) {
      for (int i = 0; i < count; ++i) {
        GElf_Dyn entry;
        if (gelf_getdyn(data, i, &entry) == nullptr || entry.d_tag != DT_NEEDED) continue;
        if (const char* const name = elf_strptr(elf, header.sh_link, entry.d_un.d_val)) result.libraries.emplace_back(name);
      }
    } else if (header.sh_type == SHT_DYNSYM || header.sh_type == SHT_SYMTAB) {
      for (int i = 0; i < count; ++i) {
        GElf_Sym symbol;
        if (gelf_getsym(data, i, &symbol) == nullptr || symbol.st_shndx == SHN_UNDEF) continue;
        const char* const name = elf_strptr(elf, header.sh_link, symbol.st_name);
        if (name != nullptr && std::string_view(name) == "malloc" && GELF_ST_TYPE(symbol.st_info) == STT_FUNC)
          result.defines_malloc = true;
      }
    }
  });
}

bool gains_privileges(const fs::path& path) {
  struct stat facts = {};
  if (stat(path.c_str(), &facts) != 0) return false;
  if ((facts.st_mode & S_ISUID) != 0 && facts.st_uid != geteuid()) return true;
  if ((facts.st_mode & S_ISGID) != 0 && (facts.st_mode & S_IXGRP) != 0 && facts.st_gid != getegid()) return true;
  return geteuid() != 0 && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
}

const char* machine_name(unsigned machine) {
  switch (machine) {
    case EM_X86_64: return "x86-64";
    case EM_386: return "x86";
    case EM_AARCH64: return "AArch64";
    case EM_ARM: return "ARM";
    case EM_RISCV: return "RISC-V";
    case EM_PPC64: return "PowerPC64";
    case EM_S390: return "S/390";
    default: return "another machine";
  }
}

void read_elf(Executable& result) {
  const ElfFile file(result.path);
  if (!file.is_open()) {
    result.kind = "a program that this user may run and not read";
    return;
  }
  GElf_Ehdr header;
  if (file.get() == nullptr || elf_kind(file.get()) != ELF_K_ELF || gelf_getehdr(file.get(), &header) == nullptr) {
    result.kind = "no ELF file; a shell takes it for a script of its own";
    return;
  }
  const bool is_64 = gelf_getclass(file.get()) == ELFCLASS64;
  const std::string interpreter = interpreter_of(file.get());
  read_sections(file.get(), result);
  result.gains_privileges = gains_privileges(result.path);
  result.kind = fmt::format("ELF {}-bit, {}, {}", is_64 ? 64 : 32, machine_name(header.e_machine),
                            interpreter.empty() ? "static" : "loaded by " + interpreter);
  if (!is_64 || header.e_machine != EM_X86_64)
    result.problem = fmt::format("is a {}-bit {} program, and the library is 64-bit x86-64", is_64 ? 64 : 32, machine_name(header.e_machine));
  else if (interpreter.empty()) result.problem = "is statically linked, so that no loader reads LD_PRELOAD";
  else if (interpreter.find("ld-linux-x86-64") == std::string::npos)
    result.problem = fmt::format("is loaded by {}, not by glibc's loader, which the library needs", interpreter);
  else if (result.gains_privileges)
    result.problem = "gains privileges (set-user-ID, set-group-ID or file capabilities), so that the loader ignores LD_PRELOAD";
}

// The program behind a "#!" line, env's argument included; empty when the file is no script.
std::string script_interpreter(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string line;
  if (file.get() != '#' || file.get() != '!' || !std::getline(file, line)) return {};
  std::istringstream words(line);
  std::string interpreter;
  words >> interpreter;
  if (fs::path(interpreter).filename() != "env") return interpreter;
  for (std::string word; words >> word;)
    if (word[0] != '-' && word.find('=') == std::string::npos) return word;
  return interpreter;
}

}  // namespace

Executable inspect(const fs::path& program) {
  constexpr std::size_t kScriptsMost = 5;  // as many as the kernel follows
  Executable result;
  result.path = program;
  for (std::string by; result.scripts.size() < kScriptsMost && !(by = script_interpreter(result.path)).empty();) {
    result.scripts.push_back(fmt::format("{} is a script run by {}", result.path.string(), by));
    result.path = find_program(by);
  }
  std::error_code none;
  if (const fs::path real = fs::canonical(result.path, none); !none) result.path = real;
  read_elf(result);
  return result;
}

std::string allocator_named(const std::string& file_name) {
  static constexpr std::string_view kOthers[] = {"jemalloc", "tcmalloc", "mimalloc", "tbbmalloc", "snmalloc", "rpmalloc",
                                                 "hoard", "hardened_malloc", "scudo", "libumem", "ltalloc", "lockless"};
  for (const std::string_view other : kOthers)
    if (file_name.find(other) != std::string::npos) return std::string(other);
  return {};
}

}  // namespace nebula::tool
