#include "diag/text.hpp"
#include "profiling/forms.hpp"

namespace nebula::profiling {

namespace {

void write_name(Text& text, const Module& module) {
  for (const char letter : module.file_name()) text << (letter == ' ' || letter == ';' || letter == '\n' ? '_' : letter);
}

// Which file frames of that name are of: a comment to what makes pictures of stacks, for `nebula symbolize` the build id to look for.
void write_modules(Output& output) {
  for (unsigned i = 1; i <= code_map::modules(); ++i) {
    const Module& module = code_map::module_at(static_cast<ModuleIndex>(i));
    TextOf<700> line;
    line << "# module ";
    write_name(line, module);
    line << ' ';
    if (module.build_id_bytes == 0) line << '-';
    module.write_build_id(line);
    line << ' ';
    for (const char letter : module.path()) line << (letter == '\n' ? '?' : letter);
    line << '\n';
    output.write(line.view());
  }
}

}  // namespace

void write_frame(Text& text, const code_map::Location& location) {
  if (location.module == 0) {
    text.address(reinterpret_cast<const void*>(location.code));
    return;
  }
  const Module& module = code_map::module_at(location.module);
  write_name(text, module);
  text << '+';
  text.address(reinterpret_cast<const void*>(location.code - module.load_bias));
}

void write_collapsed(Output& output, Which which) {
  unsigned position = 0;
  while (const Site* const site = sites::next(position)) {
    const Sums sums = which == Which::kLive ? site->live() : site->allocated();
    const std::uint64_t bytes = sums.weight.bytes >> kFractionBits;
    if (sums.samples == 0 || bytes == 0) continue;
    if (site->depth == 0) output.write("unknown");
    if (site->is_cut) output.write("(more);");
    for (unsigned i = site->depth; i-- > 0;) {
      TextOf<300> frame;
      if (site->frames()[i] != 0) write_frame(frame, code_map::location_at(site->frames()[i]));
      else frame << "unknown";
      if (i != 0) frame << ';';
      output.write(frame.view());
    }
    TextOf<32> number;
    number << ' ';
    number.plain(bytes) << '\n';
    output.write(number.view());
  }
  write_modules(output);
}

}  // namespace nebula::profiling
