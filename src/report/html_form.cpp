// The form for a browser: one file with nothing outside, the JSON form and a script that draws it. The numbers of the two
// forms are the same because they are the same bytes.
#include "report/forms.hpp"
#include "report/page.hpp"

namespace nebula::report {

void write_html(Text& text, const Occasion& occasion, const stats::Snapshot& snapshot) {
  text << kPageBefore;
  write_json(text, occasion, snapshot, Layout::kLines);
  text << kPageBehind;
}

}  // namespace nebula::report
