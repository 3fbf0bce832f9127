// From a place in code to the rule that leads from its frame to the caller's, read from the tables that compilers write for
// exceptions (.eh_frame, found through .eh_frame_hdr; "Linux Standard Base Core", Exception Frames, and DWARF 5, 6.4).
//
// Only what stack walking on x86-64 needs: where the caller's stack pointer is, and where the frame pointer was saved. What
// cannot be said so (rare hand-written code) is "no rule", and a walk goes on by frame pointer there. Pure: reads the tables of a module
// that is in use, takes no lock, keeps nothing.
#pragma once

#include <cstdint>

#include "base/units.hpp"

namespace nebula::profiling {

struct UnwindRule {
  enum class Cfa : std::uint8_t {  // the canonical frame address: the caller's stack pointer after the return
    kUnknown,
    kStackPointer,    // sp + offset
    kFramePointer,    // bp + offset
    kAtFramePointer,  // what lies at bp + offset: functions that align their stack
    kEnd,             // the outermost frame
    kSignal,          // the frame that the kernel made for a handler
  };
  enum class FramePointer : std::uint8_t { kSame, kAtCfa, kAtFramePointer };

  Cfa cfa = Cfa::kUnknown;
  std::int32_t cfa_offset = 0;
  FramePointer frame_pointer = FramePointer::kSame;
  std::int32_t frame_pointer_offset = 0;

  // In one word, never 0; what does not fit becomes kUnknown.
  [[nodiscard]] std::uint64_t packed() const;
  [[nodiscard]] static UnwindRule unpacked(std::uint64_t word);
  bool operator==(const UnwindRule&) const = default;
};

// `table` is a module's .eh_frame_hdr in memory, or 0.
[[nodiscard]] UnwindRule find_unwind_rule(Address table, Address code);

}  // namespace nebula::profiling
