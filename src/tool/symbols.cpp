#include "tool/symbols.hpp"

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <gelf.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

namespace nebula::tool {
namespace {

constexpr std::uint64_t kPageMask = 4095;

std::string demangled(const std::string& name) {
  if (name.compare(0, 2, "_Z") != 0) return name;
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> words(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 && words ? words.get() : name;
}

Frame named(std::string linkage_name) {
  Frame frame;
  frame.name = demangled(linkage_name);
  frame.linkage_name = std::move(linkage_name);
  return frame;
}

int number_of(Dwarf_Die* entry, unsigned name) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  if (dwarf_formudata(dwarf_attr_integrate(entry, name, &attribute), &value) != 0) return 0;
  return static_cast<int>(value);
}

using Entries = std::unique_ptr<Dwarf_Die, decltype(&std::free)>;

// What a copy or a definition was declared as: its place is that of the name.
Dwarf_Die declaration_of(Dwarf_Die entry) {
  Dwarf_Attribute attribute;
  Dwarf_Die other;
  for (const unsigned kind : {DW_AT_abstract_origin, DW_AT_specification})
    if (dwarf_attr(&entry, kind, &attribute) != nullptr && dwarf_formref_die(&attribute, &other) != nullptr) entry = other;
  return entry;
}

// A piece of code, and the entry of the debug information that describes it.
struct Code {
  Dwarf_Addr start;
  Dwarf_Addr end;
  Dwarf_Die entry;
};

void add_code(std::vector<Code>& all, Dwarf_Die entry) {
  Dwarf_Addr base = 0;
  Dwarf_Addr start = 0;
  Dwarf_Addr end = 0;
  for (ptrdiff_t at = 0; (at = dwarf_ranges(&entry, at, &base, &start, &end)) > 0;) all.push_back({start, end, entry});
}

void sort(std::vector<Code>& all) {
  std::sort(all.begin(), all.end(), [](const Code& one, const Code& other) { return one.start < other.start; });
}

Dwarf_Die* entry_at(std::vector<Code>& all, Dwarf_Addr address) {
  const auto behind = std::upper_bound(all.begin(), all.end(), address, [](Dwarf_Addr at, const Code& code) { return at < code.start; });
  if (behind == all.begin() || address >= std::prev(behind)->end) return nullptr;
  return &std::prev(behind)->entry;
}

template <class Visitor>
void for_each_child(Dwarf_Die entry, Visitor visit) {
  Dwarf_Die child;
  if (dwarf_child(&entry, &child) != 0) return;
  do visit(child);
  while (dwarf_siblingof(&child, &child) == 0);
}

// Functions are in namespaces and types, and those of local types in other functions.
void add_functions(std::vector<Code>& all, const Dwarf_Die& around) {
  for_each_child(around, [&all](Dwarf_Die& entry) {
    switch (dwarf_tag(&entry)) {
      case DW_TAG_subprogram:
        add_code(all, entry);
        [[fallthrough]];
      case DW_TAG_namespace:
      case DW_TAG_module:
      case DW_TAG_class_type:
      case DW_TAG_structure_type:
      case DW_TAG_union_type:
      case DW_TAG_lexical_block:
        add_functions(all, entry);
        break;
      default: break;
    }
  });
}

// What the code at an address stands in: the function, and in it blocks and inlined calls, the innermost last.
std::vector<Dwarf_Die> scopes_at(const Dwarf_Die& function, Dwarf_Addr address) {
  std::vector<Dwarf_Die> scopes = {function};
  for (std::size_t known = 0; known < scopes.size();) {
    known = scopes.size();
    for_each_child(scopes.back(), [&](Dwarf_Die& entry) {
      const int tag = dwarf_tag(&entry);
      const bool is_scope = tag == DW_TAG_lexical_block || tag == DW_TAG_inlined_subroutine || tag == DW_TAG_try_block || tag == DW_TAG_catch_block;
      if (scopes.size() == known && is_scope && dwarf_haspc(&entry, address) == 1) scopes.push_back(entry);
    });
  }
  return scopes;
}

// "shop::Order::", "(anonymous namespace)::" or nothing.
std::string scopes_around(const Dwarf_Die& entry) {
  Dwarf_Die declaration = declaration_of(entry);
  Dwarf_Die* around = nullptr;
  const int count = dwarf_getscopes_die(&declaration, &around);
  const Entries owned(around, &std::free);
  std::string text;
  for (int i = 1; i < count; ++i) {
    const int tag = dwarf_tag(around + i);
    if (tag != DW_TAG_namespace && tag != DW_TAG_class_type && tag != DW_TAG_structure_type && tag != DW_TAG_union_type) continue;
    const char* const name = dwarf_diename(around + i);
    text.insert(0, name != nullptr ? std::string(name) + "::" : tag == DW_TAG_namespace ? "(anonymous namespace)::" : "(anonymous)::");
  }
  return text;
}

// Compilers shorten what lies below the folder they ran in.
std::string absolute(Dwarf_Die* unit, const char* path) {
  if (path == nullptr) return {};
  Dwarf_Attribute attribute;
  const char* const folder = *path == '/' ? nullptr : dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attribute));
  return folder == nullptr ? path : std::string(folder) + '/' + path;
}

// A function, or the copy of one that was inlined. Without a name where the entry has none.
Frame function_of(Dwarf_Die* entry) {
  Dwarf_Attribute attribute;
  const char* name = nullptr;
  for (const unsigned kind : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name})
    if (name == nullptr) name = dwarf_formstring(dwarf_attr_integrate(entry, kind, &attribute));
  Frame frame;
  if (name != nullptr) {
    frame = named(name);
  } else if (name = dwarf_diename(entry); name != nullptr) {  // one that the linker need not know: compilers leave it at that
    frame.name = scopes_around(*entry) + name;
    frame.linkage_name = name;
  }
  frame.start_line = number_of(entry, DW_AT_decl_line);
  return frame;
}

}  // namespace

struct SymbolFile::Session {

  ModuleName name;
  const DebugFiles* files = nullptr;
  std::string search_path;
  char* search_path_text = nullptr;
  Dwfl_Callbacks callbacks = {};
  Dwfl* dwfl = nullptr;
  Dwfl_Module* module = nullptr;
  Dwarf_Addr bias = 0;        // where libdw has put the file
  Dwarf_Addr debug_bias = 0;  // and its debug information
  std::vector<Code> units;    // of the debug information
  std::map<Dwarf_Off, std::vector<Code>> functions;  // of each unit that was asked for

  Session(const ModuleName& of, const DebugFiles& in) : name(of), files(&in), search_path(in.search_path()) {
    search_path_text = search_path.data();
    callbacks.find_elf = dwfl_build_id_find_elf;
    callbacks.find_debuginfo = find_debug;
    callbacks.section_address = dwfl_offline_section_address;
    callbacks.debuginfo_path = &search_path_text;
  }
  ~Session() { dwfl_end(dwfl); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] bool open(const std::string& path) {
    dwfl = dwfl_begin(&callbacks);
    if (dwfl == nullptr) return false;
    dwfl_report_begin(dwfl);
    module = dwfl_report_offline(dwfl, name.path.c_str(), path.c_str(), -1);
    dwfl_report_end(dwfl, nullptr, nullptr);
    if (module == nullptr) return false;
    void** own = nullptr;
    dwfl_module_info(module, &own, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
    *own = this;
    return dwfl_module_getelf(module, &bias) != nullptr;
  }

  // Not by dwfl_module_addrdie: that needs an index which clang does not write.
  void index_units() {
    for (Dwarf_Die* entry = nullptr; (entry = dwfl_module_nextcu(module, entry, &debug_bias)) != nullptr;) add_code(units, *entry);
    sort(units);
  }

  // Not by dwarf_getscopes: that goes through all of a unit for each address, and not into namespaces, where clang has definitions.
  [[nodiscard]] Dwarf_Die* function_at(Dwarf_Addr address, Dwarf_Die* unit) {
    const auto [known, is_new] = functions.try_emplace(dwarf_dieoffset(unit));
    if (is_new) {
      add_functions(known->second, *unit);
      sort(known->second);
    }
    return entry_at(known->second, address);
  }
  [[nodiscard]] Dwarf_Die* unit_at(Dwarf_Addr address) { return entry_at(units, address); }

  // The folders that people gave go first, whatever the file there is called; then libdw looks where distributions put them.
  static int find_debug(Dwfl_Module* module, void** own, const char* module_name, Dwarf_Addr base, const char* file, const char* link,
                        GElf_Word link_checksum, char** found) {
    const auto* const session = static_cast<const Session*>(*own);
    if (session != nullptr)
      if (const std::filesystem::path path = session->files->find_debug(session->name); !path.empty())
        return ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    return dwfl_standard_find_debuginfo(module, own, module_name, base, file, link, link_checksum, found);
  }
};

SymbolFile::SymbolFile(const ModuleName& module, const DebugFiles& files) {
  const DebugFiles::Found found = files.find(module);
  if (found.path.empty()) {
    remark_ = found.refusals.empty() ? fmt::format("{} is not found; --debug-dir FOLDER says where it is", module.path)
                                     : fmt::format("{} is not used: {}", module.path, found.refusals.front());
    return;
  }
  auto session = std::make_unique<Session>(module, files);
  if (!session->open(found.path)) {
    remark_ = fmt::format("{} cannot be read: {}", found.path.string(), dwfl_errmsg(-1));
    return;
  }
  session_ = std::move(session);
  session_->index_units();
  if (module.build_id.empty())
    remark_ = fmt::format("{} has no build id in the profile: {} is taken for it, right or wrong", module.path, found.path.string());
}

SymbolFile::~SymbolFile() = default;

std::uint64_t SymbolFile::bias_of(const MappedCode& code) const {
  if (!session_) return 0;
  GElf_Addr ignored = 0;
  Elf* const elf = dwfl_module_getelf(session_->module, &ignored);
  std::size_t count = 0;
  elf_getphdrnum(elf, &count);
  std::vector<GElf_Phdr> segments;
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf, static_cast<int>(i), &segment) != nullptr && segment.p_type == PT_LOAD) segments.push_back(segment);
  }
  // By its length first: in files that have debug information alone, the places of segments in the file are not the program's.
  const auto is_code = [](const GElf_Phdr& segment) { return (segment.p_flags & PF_X) != 0; };
  const auto has_length = [&](const GElf_Phdr& segment) {
    const std::uint64_t start = segment.p_vaddr & ~kPageMask;
    return is_code(segment) && ((segment.p_vaddr + segment.p_memsz + kPageMask) & ~kPageMask) - start == code.end - code.start;
  };
  const auto has_offset = [&](const GElf_Phdr& segment) { return (segment.p_offset & ~kPageMask) == code.offset; };
  auto found = segments.end();
  if (std::count_if(segments.begin(), segments.end(), has_length) == 1) found = std::find_if(segments.begin(), segments.end(), has_length);
  if (found == segments.end()) found = std::find_if(segments.begin(), segments.end(), has_offset);
  if (found == segments.end()) found = std::find_if(segments.begin(), segments.end(), is_code);
  return found == segments.end() ? 0 : code.start - (found->p_vaddr & ~kPageMask);
}

std::vector<Frame> SymbolFile::frames(std::uint64_t address) const {
  if (!session_) return {};
  std::vector<Frame> found = inlined_frames(address);
  return found.empty() ? symbol_at(address) : found;
}

std::vector<Frame> SymbolFile::inlined_frames(std::uint64_t address) const {
  const Dwarf_Addr here = address + session_->bias - session_->debug_bias;
  Dwarf_Die* const unit = session_->unit_at(here);
  if (unit == nullptr) return {};
  Dwarf_Die* const function = session_->function_at(here, unit);
  if (function == nullptr) return {};  // the table of symbols may know more

  std::vector<Frame> frames;
  std::string file;
  int line = 0;
  if (Dwarf_Line* const source = dwarf_getsrc_die(unit, here); source != nullptr) {
    file = absolute(unit, dwarf_linesrc(source, nullptr, nullptr));
    dwarf_lineno(source, &line);
  }
  Dwarf_Files* unit_files = nullptr;
  std::size_t files_count = 0;
  dwarf_getsrcfiles(unit, &unit_files, &files_count);
  std::vector<Dwarf_Die> scopes = scopes_at(*function, here);
  for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope) {
    Dwarf_Die* const entry = &*scope;
    const int tag = dwarf_tag(entry);
    if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram) continue;
    Frame frame = function_of(entry);
    if (frame.name.empty()) return {};
    frame.file = file;
    frame.line = line;
    frames.push_back(std::move(frame));
    if (tag == DW_TAG_subprogram) break;
    const auto index = static_cast<std::size_t>(number_of(entry, DW_AT_call_file));
    file = absolute(unit, index < files_count ? dwarf_filesrc(unit_files, index, nullptr, nullptr) : nullptr);
    line = number_of(entry, DW_AT_call_line);
  }
  return frames;
}

std::vector<Frame> SymbolFile::symbol_at(std::uint64_t address) const {
  GElf_Off offset = 0;
  GElf_Sym symbol = {};
  const char* const name = dwfl_module_addrinfo(session_->module, address + session_->bias, &offset, &symbol, nullptr, nullptr, nullptr);
  // libdw gives the nearest one before, too: where the table has exported functions only, that is some other function.
  if (name == nullptr || *name == '\0' || (symbol.st_size != 0 && offset >= symbol.st_size)) return {};
  std::string plain = name;
  plain = plain.substr(0, plain.find('@'));  // without the version
  return {named(std::move(plain))};
}

}  // namespace nebula::tool
