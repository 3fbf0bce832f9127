#include "profiling/forms.hpp"

#include <cstring>

#include "diag/text.hpp"

namespace nebula::profiling {
namespace {

// A message of protocol buffers: fields of varints, strings and messages. Room for the largest there is here, a sample with all its frames.
class Message {
 public:
  Message& number(unsigned field, std::uint64_t value) {
    if (value == 0) return *this;
    varint(field << 3);
    varint(value);
    return *this;
  }
  Message& bytes(unsigned field, std::string_view words) {
    varint(field << 3 | 2);
    varint(words.size());
    for (const char byte : words) push(byte);
    return *this;
  }
  // For packed numbers: the elements alone.
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) push(static_cast<char>(value | 0x80));
    push(static_cast<char>(value));
  }
  [[nodiscard]] std::string_view view() const { return {room_, used_}; }

 private:
  void push(char byte) {
    if (used_ < sizeof room_) room_[used_++] = byte;
  }
  std::size_t used_ = 0;
  char room_[kFramesMost * 3 + 128];
};
static_assert(sizeof(LocationIndex) == 2, "a location takes three bytes of a sample");

// Of message Profile.
enum Field : unsigned {
  kSampleType = 1,
  kSample = 2,
  kMapping = 3,
  kLocation = 4,
  kString = 6,
  kTime = 9,
  kDuration = 10,
  kPeriodType = 11,
  kPeriod = 12,
  kComment = 13,
  kDefaultSampleType = 14,
};

// The string table: these, then a path and a build id of each module, then the comment.
enum Word : unsigned { kEmpty, kAllocObjects, kAllocSpace, kInuseObjects, kInuseSpace, kSpace, kCount, kBytes, kWords };
constexpr std::string_view kWordTable[kWords] = {"",      "alloc_objects", "alloc_space", "inuse_objects",
                                                 "inuse_space", "space",         "count",       "bytes"};

unsigned path_of(unsigned module) { return kWords + 2 * (module - 1); }

void send(Output& output, unsigned field, const Message& message) {
  Message head;
  head.varint(field << 3 | 2);
  head.varint(message.view().size());
  output.write(head.view());
  output.write(message.view());
}

void send_string(Output& output, std::string_view words) {
  Message head;
  head.varint(kString << 3 | 2);
  head.varint(words.size());
  output.write(head.view());
  output.write(words);
}

void send_strings(Output& output, unsigned modules) {
  for (const std::string_view word : kWordTable) send_string(output, word);
  for (unsigned i = 1; i <= modules; ++i) {
    const Module& module = code_map::module_at(static_cast<ModuleIndex>(i));
    send_string(output, module.path());
    TextOf<2 * sizeof module.build_id + 1> id;
    module.write_build_id(id);
    send_string(output, id.view());
  }
  TextOf<200> comment;
  comment << "Nebula: one sample in ";
  comment.plain(period()) << " bytes; counts and bytes are estimates for all allocations, at the size of their slots or pages";
  send_string(output, comment.view());
}

void send_value_type(Output& output, unsigned field, Word type, Word unit) {
  send(output, field, Message().number(1, type).number(2, unit));
}

void send_mapping(Output& output, unsigned index) {
  const Module& module = code_map::module_at(static_cast<ModuleIndex>(index));
  send(output, kMapping,
       Message()
           .number(1, index)
           .number(2, module.code_start)
           .number(3, module.code_end)
           .number(4, module.code_offset)
           .number(5, path_of(index))
           .number(6, path_of(index) + 1));
}

void send_mappings(Output& output, unsigned modules) {
  // The program itself comes first: readers take it for the one that the profile is of.
  unsigned program = 0;
  for (unsigned i = 1; i <= modules && program == 0; ++i)
    if (code_map::module_at(static_cast<ModuleIndex>(i)).is_program) program = i;
  if (program != 0) send_mapping(output, program);
  for (unsigned i = 1; i <= modules; ++i)
    if (i != program) send_mapping(output, i);
}

void send_locations(Output& output) {
  const unsigned count = code_map::locations();
  for (unsigned i = 1; i <= count; ++i) {
    const code_map::Location location = code_map::location_at(static_cast<LocationIndex>(i));
    if (location.code != 0) send(output, kLocation, Message().number(1, i).number(2, location.module).number(3, location.code));
  }
}

void send_sample(Output& output, const Site& site) {
  const Sums live = site.live();
  const Sums all = site.allocated();
  if (all.samples == 0) return;
  Message frames;
  for (unsigned i = 0; i < site.depth; ++i)
    if (site.frames()[i] != 0) frames.varint(site.frames()[i]);
  Message values;
  for (const std::uint64_t value : {all.objects(), all.bytes(), live.objects(), live.bytes()}) values.varint(value);
  send(output, kSample, Message().bytes(1, frames.view()).bytes(2, values.view()));
}

}  // namespace

void write_pprof(Output& output, const Times& times) {
  const unsigned modules = code_map::modules();
  send_strings(output, modules);
  send_value_type(output, kSampleType, kAllocObjects, kCount);
  send_value_type(output, kSampleType, kAllocSpace, kBytes);
  send_value_type(output, kSampleType, kInuseObjects, kCount);
  send_value_type(output, kSampleType, kInuseSpace, kBytes);
  send_value_type(output, kPeriodType, kSpace, kBytes);
  send_mappings(output, modules);
  unsigned position = 0;
  while (const Site* const site = sites::next(position)) send_sample(output, *site);
  send_locations(output);
  output.write(Message()
                   .number(kTime, times.written_at)
                   .number(kDuration, times.elapsed)
                   .number(kPeriod, period())
                   .number(kComment, path_of(modules + 1))
                   .number(kDefaultSampleType, kInuseSpace)
                   .view());
}

}  // namespace nebula::profiling
