#include "diag/text.hpp"
#include "profiling/forms.hpp"

namespace nebula::profiling {

void write_frame(Text& text, const code_map::Location& location) {
  if (location.module == 0) {
    text.address(reinterpret_cast<const void*>(location.code));
    return;
  }
  const Module& module = code_map::module_at(location.module);
  for (const char letter : module.file_name()) text << (letter == ' ' || letter == ';' ? '_' : letter);
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
}

}  // namespace nebula::profiling
