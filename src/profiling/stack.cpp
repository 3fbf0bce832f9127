#include "profiling/stack.hpp"

#include "os/memory.hpp"

namespace nebula::profiling {
namespace {

struct Registers {
  Address code = 0;
  Address stack_pointer = 0;
  Address frame_pointer = 0;
  bool is_exact = true;  // else it is a return address, whose call lies before it
};

class StackReader {
 public:
  // The word at an address, which must be a multiple of 8. False: it cannot be read.
  bool read(Address where, Address& word) {
    if (where % sizeof word != 0 || !is_readable(where)) return false;
    word = *reinterpret_cast<const Address*>(where);
    return true;
  }

 private:
  // Pages next to those known are asked for one by one; whatever lies elsewhere starts anew.
  bool is_readable(Address where) {
    const Address page = where & ~(kPageSize - 1);
    if (page >= first_ && page < end_) return true;
    if (page < kPageSize || !os::is_readable(page)) return false;
    if (page == end_) {
      end_ += kPageSize;
      return true;
    }
    first_ = page;
    end_ = page + kPageSize;
    return true;
  }

  Address first_ = 0;
  Address end_ = 0;
};

class Walk {
 public:
  explicit Walk(Registers start) : now_(start) {}

  // To the caller of the frame at hand. False: there is none, or it cannot be told.
  bool go_on(const UnwindRule& rule) {
    switch (rule.cfa) {
      case UnwindRule::Cfa::kEnd: return false;
      case UnwindRule::Cfa::kSignal: return leave_handler();
      case UnwindRule::Cfa::kUnknown: return follow_frame_pointer();
      default: return follow(rule);
    }
  }

  [[nodiscard]] Address code() const { return now_.is_exact ? now_.code : now_.code - 1; }

 private:
  bool follow(const UnwindRule& rule) {
    Address cfa = rule.cfa == UnwindRule::Cfa::kStackPointer ? now_.stack_pointer : now_.frame_pointer;
    cfa += static_cast<Address>(std::int64_t{rule.cfa_offset});
    if (rule.cfa == UnwindRule::Cfa::kAtFramePointer && !reader_.read(cfa, cfa)) return false;
    Registers caller = {0, cfa, now_.frame_pointer, false};
    if (cfa <= now_.stack_pointer || !reader_.read(cfa - sizeof cfa, caller.code)) return false;
    const auto offset = static_cast<Address>(std::int64_t{rule.frame_pointer_offset});
    if (rule.frame_pointer == UnwindRule::FramePointer::kAtCfa && !reader_.read(cfa + offset, caller.frame_pointer)) return false;
    if (rule.frame_pointer == UnwindRule::FramePointer::kAtFramePointer &&
        !reader_.read(now_.frame_pointer + offset, caller.frame_pointer))
      return false;
    return accept(caller);
  }

  // What a function does that keeps one: the caller's lies at it, the return address behind that.
  bool follow_frame_pointer() {
    constexpr Address kLargestFrame = kMiB;
    const Address here = now_.frame_pointer;
    if (here < now_.stack_pointer || here - now_.stack_pointer > kLargestFrame) return false;
    Registers caller = {0, here + 2 * sizeof here, 0, false};
    if (!reader_.read(here, caller.frame_pointer) || !reader_.read(here + sizeof here, caller.code)) return false;
    return accept(caller);
  }

  // The kernel has left the interrupted code's registers at the stack pointer, in a ucontext_t.
  bool leave_handler() {
    constexpr Address kFramePointer = 40 + 10 * 8;
    constexpr Address kStackPointer = 40 + 15 * 8;
    constexpr Address kCode = 40 + 16 * 8;
    Registers interrupted = {};
    const Address context = now_.stack_pointer;
    if (!reader_.read(context + kFramePointer, interrupted.frame_pointer) ||
        !reader_.read(context + kStackPointer, interrupted.stack_pointer) || !reader_.read(context + kCode, interrupted.code))
      return false;
    return accept(interrupted);
  }

  bool accept(const Registers& next) {
    if (next.code < kPageSize) return false;
    now_ = next;
    return true;
  }

  Registers now_;
  StackReader reader_;
};

}  // namespace

[[gnu::noinline]] void capture(Stack& stack) {
  Registers here;
  asm volatile(
      "leaq 0(%%rip), %0\n\t"
      "movq %%rsp, %1\n\t"
      "movq %%rbp, %2"
      : "=r"(here.code), "=r"(here.stack_pointer), "=r"(here.frame_pointer));
  Walk walk(here);
  stack.depth = 0;
  stack.is_cut = false;
  ModuleIndex own = 0;
  unsigned skipped = 0;
  constexpr unsigned kOwnMost = 16;  // frames of the library itself, which are left out
  for (bool is_first = true;; is_first = false) {
    const code_map::Place place = code_map::find(walk.code());
    if (is_first) own = place.module;
    const bool is_own = stack.depth == 0 && place.module == own && own != 0 && skipped < kOwnMost;
    if (is_own) {
      ++skipped;
    } else if (stack.depth == kFramesMost) {
      stack.is_cut = true;
      return;
    } else {
      stack.frames[stack.depth++] = place.location;
    }
    if (!walk.go_on(place.rule)) return;
  }
}

}  // namespace nebula::profiling
