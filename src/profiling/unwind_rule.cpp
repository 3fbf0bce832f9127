#include "profiling/unwind_rule.hpp"

#include <cstring>

namespace nebula::profiling {
namespace {

// DWARF's numbers of x86-64's registers.
constexpr std::uint64_t kFramePointerRegister = 6;
constexpr std::uint64_t kStackPointerRegister = 7;
constexpr std::uint64_t kReturnAddress = 16;

class Reader {
 public:
  Reader(Address at, Address end) : at_(at), end_(end) {}

  [[nodiscard]] Address at() const { return at_; }
  [[nodiscard]] bool is_done() const { return at_ >= end_; }

  template <class T>
  T fixed() {
    T value = 0;
    if (end_ - at_ < sizeof value || at_ > end_) {
      at_ = end_;
      return 0;
    }
    std::memcpy(&value, reinterpret_cast<const void*>(at_), sizeof value);
    at_ += sizeof value;
    return value;
  }

  std::uint64_t unsigned_leb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto byte = fixed<std::uint8_t>();
      if (shift < 64) value |= std::uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) return value;
    }
  }

  std::int64_t signed_leb() {
    std::uint64_t value = 0;
    for (unsigned shift = 0;;) {
      const auto byte = fixed<std::uint8_t>();
      if (shift < 64) value |= std::uint64_t{byte & 0x7fu} << shift;
      shift += 7;
      if ((byte & 0x80) != 0) continue;
      if ((byte & 0x40) != 0 && shift < 64) value |= ~std::uint64_t{0} << shift;
      return static_cast<std::int64_t>(value);
    }
  }

  // A pointer in one of the DW_EH_PE forms: its width in the low half, what it is relative to in the other.
  Address encoded(std::uint8_t encoding) {
    const Address here = at_;
    std::uint64_t value = 0;
    switch (encoding & 0x0f) {
      case 0x00:
      case 0x04:
      case 0x0c: value = fixed<std::uint64_t>(); break;
      case 0x02: value = fixed<std::uint16_t>(); break;
      case 0x03: value = fixed<std::uint32_t>(); break;
      case 0x0a: value = static_cast<std::uint64_t>(std::int64_t{fixed<std::int16_t>()}); break;
      case 0x0b: value = static_cast<std::uint64_t>(std::int64_t{fixed<std::int32_t>()}); break;
      default: at_ = end_; return 0;
    }
    return (encoding & 0x70) == 0x10 ? here + value : value;
  }

  void skip(std::uint64_t bytes) { at_ = bytes < end_ - at_ ? at_ + bytes : end_; }

 private:
  Address at_;
  Address end_;
};

// What a frame's common and its own instructions start with.
struct Common {
  Address instructions = 0;
  Address end = 0;
  std::uint64_t code_alignment = 0;
  std::int64_t data_alignment = 0;
  std::uint8_t encoding = 0;
  bool has_augmentation_data = false;
  bool is_signal_frame = false;
  bool is_good = false;
};

Common read_common(Address where) {
  Common common;
  Reader length(where, where + 4);
  const auto bytes = length.fixed<std::uint32_t>();
  if (bytes == 0 || bytes >= 0xffff'fff0) return common;
  common.end = where + 4 + bytes;
  Reader reader(where + 4, common.end);
  if (reader.fixed<std::uint32_t>() != 0) return common;
  const auto version = reader.fixed<std::uint8_t>();
  if (version != 1 && version != 3) return common;
  const auto* augmentation = reinterpret_cast<const char*>(reader.at());
  reader.skip(std::strlen(augmentation) + 1);
  common.code_alignment = reader.unsigned_leb();
  common.data_alignment = reader.signed_leb();
  if (version == 1) reader.skip(1);
  else static_cast<void>(reader.unsigned_leb());
  if (*augmentation == 'z') {
    common.has_augmentation_data = true;
    const std::uint64_t data_bytes = reader.unsigned_leb();
    Reader data(reader.at(), common.end);
    reader.skip(data_bytes);
    for (++augmentation; *augmentation != '\0'; ++augmentation) {
      if (*augmentation == 'R') common.encoding = data.fixed<std::uint8_t>();
      else if (*augmentation == 'L') data.skip(1);
      else if (*augmentation == 'P') static_cast<void>(data.encoded(data.fixed<std::uint8_t>()));
      else if (*augmentation == 'S') common.is_signal_frame = true;
      else if (*augmentation != 'B') return common;
    }
  } else if (*augmentation != '\0') {
    return common;
  }
  common.instructions = reader.at();
  common.is_good = true;
  return common;
}

// A row of the table that the instructions stand for: all that is followed of it.
struct Row {
  std::uint64_t cfa_register = kStackPointerRegister;
  std::int64_t cfa_offset = 0;
  bool cfa_is_expression = false;
  bool cfa_is_known = true;
  enum class Saved : std::uint8_t { kSame, kAtCfa, kAtFramePointer, kUnknown } frame_pointer = Saved::kSame;
  std::int64_t frame_pointer_offset = 0;
  bool is_outermost = false;
  bool return_address_moved = false;
};

// `bp + offset`, and whether what lies there is meant. False for every other expression.
bool is_based_on_frame_pointer(Reader expression, bool dereferenced, std::int64_t& offset) {
  constexpr std::uint8_t kBaseFramePointer = 0x70 + kFramePointerRegister;
  constexpr std::uint8_t kDereference = 0x06;
  if (expression.fixed<std::uint8_t>() != kBaseFramePointer) return false;
  offset = expression.signed_leb();
  if (dereferenced && expression.fixed<std::uint8_t>() != kDereference) return false;
  return expression.is_done();
}

class Machine {
 public:
  Machine(const Common& common, Address start, Address code) : common_(common), place_(start), code_(code) {}

  // False when something is met that cannot be followed.
  bool run(Reader reader) {
    while (!reader.is_done() && place_ <= code_)
      if (!step(reader)) return false;
    return true;
  }
  void end_common() { initial_ = row_; }
  [[nodiscard]] const Row& row() const { return row_; }

 private:
  bool advance(std::uint64_t by) {
    place_ += by * common_.code_alignment;
    return true;
  }

  bool save(std::uint64_t which, std::int64_t offset) {
    if (which == kFramePointerRegister) {
      row_.frame_pointer = Row::Saved::kAtCfa;
      row_.frame_pointer_offset = offset;
    }
    if (which == kReturnAddress) row_.return_address_moved = offset != -8;
    return true;
  }
  bool save_factored(std::uint64_t which, std::int64_t factor) { return save(which, factor * common_.data_alignment); }

  bool restore(std::uint64_t which) {
    if (which == kFramePointerRegister) {
      row_.frame_pointer = initial_.frame_pointer;
      row_.frame_pointer_offset = initial_.frame_pointer_offset;
    }
    return true;
  }

  bool define_cfa(std::uint64_t which, std::int64_t offset) {
    row_.cfa_register = which;
    row_.cfa_offset = offset;
    row_.cfa_is_expression = false;
    row_.cfa_is_known = true;
    return true;
  }

  // The length, and a reader of so many bytes behind it.
  static Reader block(Reader& reader) {
    const std::uint64_t bytes = reader.unsigned_leb();
    const Address start = reader.at();
    reader.skip(bytes);
    return {start, reader.at()};
  }

  bool forget(std::uint64_t which) {
    if (which == kFramePointerRegister) row_.frame_pointer = Row::Saved::kUnknown;
    if (which == kReturnAddress) row_.return_address_moved = true;
    return true;
  }

  bool save_by_expression(std::uint64_t which, Reader expression) {
    if (which != kFramePointerRegister) return forget(which);
    const bool is_known = is_based_on_frame_pointer(expression, false, row_.frame_pointer_offset);
    row_.frame_pointer = is_known ? Row::Saved::kAtFramePointer : Row::Saved::kUnknown;
    return true;
  }

  bool step(Reader& reader) {
    const auto operation = reader.fixed<std::uint8_t>();
    const std::uint64_t operand = operation & 0x3fu;
    switch (operation & 0xc0) {
      case 0x40: return advance(operand);
      case 0x80: return save_factored(operand, static_cast<std::int64_t>(reader.unsigned_leb()));
      case 0xc0: return restore(operand);
      default: return step_extended(operation, reader);
    }
  }

  bool step_extended(std::uint8_t operation, Reader& reader) {
    std::uint64_t which = 0;
    switch (operation) {
      case 0x00: return true;
      case 0x01: place_ = reader.encoded(common_.encoding); return true;
      case 0x02: return advance(reader.fixed<std::uint8_t>());
      case 0x03: return advance(reader.fixed<std::uint16_t>());
      case 0x04: return advance(reader.fixed<std::uint32_t>());
      case 0x05: which = reader.unsigned_leb(); return save_factored(which, static_cast<std::int64_t>(reader.unsigned_leb()));
      case 0x06: return restore(reader.unsigned_leb());
      case 0x07:  // undefined: said of the return address, this is where the stack ends
        which = reader.unsigned_leb();
        row_.is_outermost = row_.is_outermost || which == kReturnAddress;
        return true;
      case 0x08:
        if (reader.unsigned_leb() == kFramePointerRegister) row_.frame_pointer = Row::Saved::kSame;
        return true;
      case 0x09: which = reader.unsigned_leb(); static_cast<void>(reader.unsigned_leb()); return forget(which);
      case 0x0a: return remember();
      case 0x0b: return recall();
      case 0x0c: which = reader.unsigned_leb(); return define_cfa(which, static_cast<std::int64_t>(reader.unsigned_leb()));
      case 0x0d: return define_cfa(reader.unsigned_leb(), row_.cfa_offset);
      case 0x0e: row_.cfa_offset = static_cast<std::int64_t>(reader.unsigned_leb()); return true;
      case 0x0f:
        row_.cfa_is_expression = true;
        row_.cfa_is_known = is_based_on_frame_pointer(block(reader), true, row_.cfa_offset);
        return true;
      case 0x10: which = reader.unsigned_leb(); return save_by_expression(which, block(reader));
      case 0x11: which = reader.unsigned_leb(); return save_factored(which, reader.signed_leb());
      case 0x12: which = reader.unsigned_leb(); return define_cfa(which, reader.signed_leb() * common_.data_alignment);
      case 0x13: row_.cfa_offset = reader.signed_leb() * common_.data_alignment; return true;
      case 0x14: which = reader.unsigned_leb(); static_cast<void>(reader.unsigned_leb()); return forget(which);
      case 0x15: which = reader.unsigned_leb(); static_cast<void>(reader.signed_leb()); return forget(which);
      case 0x16: which = reader.unsigned_leb(); static_cast<void>(block(reader)); return forget(which);
      case 0x2e: static_cast<void>(reader.unsigned_leb()); return true;  // the size of arguments
      default: return false;
    }
  }

  bool remember() {
    if (depth_ == kRemembered) return false;
    remembered_[depth_++] = row_;
    return true;
  }
  bool recall() {
    if (depth_ == 0) return false;
    row_ = remembered_[--depth_];
    return true;
  }

  static constexpr unsigned kRemembered = 4;
  const Common& common_;
  Address place_;
  const Address code_;
  Row row_;
  Row initial_;
  Row remembered_[kRemembered];
  unsigned depth_ = 0;
};

// The frame description that the sorted table has for this place; 0 when the table is not of the usual form.
Address find_description(Address table, Address code) {
  Reader header(table, table + 12);
  // Version 1, a pointer relative to its place, a count of 32 bits, pairs of offsets from the table.
  if (header.fixed<std::uint32_t>() != 0x3b03'1b01) return 0;
  header.skip(4);
  std::uint32_t count = header.fixed<std::uint32_t>();
  struct Entry {
    std::int32_t code;
    std::int32_t description;
  };
  const auto* first = reinterpret_cast<const Entry*>(table + 12);
  const auto address_at = [table](std::int32_t offset) { return table + static_cast<std::uint64_t>(std::int64_t{offset}); };
  if (count == 0 || address_at(first->code) > code) return 0;
  while (count > 1) {
    const std::uint32_t half = count / 2;
    if (address_at(first[half].code) <= code) {
      first += half;
      count -= half;
    } else {
      count = half;
    }
  }
  return address_at(first->description);
}

UnwindRule rule_of(const Row& row, bool is_signal_frame) {
  using Cfa = UnwindRule::Cfa;
  UnwindRule rule;
  if (is_signal_frame) {
    rule.cfa = Cfa::kSignal;
    return rule;
  }
  if (row.is_outermost) {
    rule.cfa = Cfa::kEnd;
    return rule;
  }
  if (!row.cfa_is_known || row.return_address_moved || row.frame_pointer == Row::Saved::kUnknown) return rule;
  if (row.cfa_is_expression) rule.cfa = Cfa::kAtFramePointer;
  else if (row.cfa_register == kStackPointerRegister) rule.cfa = Cfa::kStackPointer;
  else if (row.cfa_register == kFramePointerRegister) rule.cfa = Cfa::kFramePointer;
  else return rule;
  constexpr std::int64_t kMost = 1 << 28;
  if (row.cfa_offset >= kMost || row.cfa_offset <= -kMost || row.frame_pointer_offset >= kMost || row.frame_pointer_offset <= -kMost)
    return {};
  rule.cfa_offset = static_cast<std::int32_t>(row.cfa_offset);
  if (row.frame_pointer == Row::Saved::kSame) return rule;
  rule.frame_pointer = row.frame_pointer == Row::Saved::kAtCfa ? UnwindRule::FramePointer::kAtCfa
                                                              : UnwindRule::FramePointer::kAtFramePointer;
  rule.frame_pointer_offset = static_cast<std::int32_t>(row.frame_pointer_offset);
  return rule;
}

}  // namespace

UnwindRule find_unwind_rule(Address table, Address code) {
  const Address description = table != 0 ? find_description(table, code) : 0;
  if (description == 0) return {};
  Reader length(description, description + 4);
  const auto bytes = length.fixed<std::uint32_t>();
  if (bytes == 0 || bytes >= 0xffff'fff0) return {};
  Reader reader(description + 4, description + 4 + bytes);
  const Address common_from = reader.at();
  const Common common = read_common(common_from - reader.fixed<std::uint32_t>());
  if (!common.is_good) return {};
  const Address start = reader.encoded(common.encoding);
  const std::uint64_t extent = reader.encoded(common.encoding & 0x0f);
  if (code < start || code - start >= extent) return {};
  if (common.has_augmentation_data) reader.skip(reader.unsigned_leb());
  Machine machine(common, start, code);
  if (!machine.run({common.instructions, common.end})) return {};
  machine.end_common();
  if (!machine.run(reader)) return {};
  return rule_of(machine.row(), common.is_signal_frame);
}

std::uint64_t UnwindRule::packed() const {
  // 4 bits and 2 for the kinds, the offsets in words: 29 bits each.
  constexpr std::uint64_t kOffsetMask = (1u << 29) - 1;
  if (cfa_offset % 8 != 0 || frame_pointer_offset % 8 != 0) return UnwindRule{}.packed();
  const auto part = [](std::int32_t offset) { return static_cast<std::uint64_t>(std::int64_t{offset / 8}) & kOffsetMask; };
  return (static_cast<std::uint64_t>(cfa) + 1) | static_cast<std::uint64_t>(frame_pointer) << 4 | part(cfa_offset) << 6 |
         part(frame_pointer_offset) << 35;
}

UnwindRule UnwindRule::unpacked(std::uint64_t word) {
  const auto offset = [](std::uint64_t bits) { return static_cast<std::int32_t>(static_cast<std::uint32_t>(bits) << 3); };
  return {static_cast<Cfa>((word & 0xf) - 1), offset(word >> 6 & 0x1fff'ffff), static_cast<FramePointer>(word >> 4 & 3),
          offset(word >> 35 & 0x1fff'ffff)};
}

}  // namespace nebula::profiling
