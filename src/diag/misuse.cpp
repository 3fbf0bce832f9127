#include "diag/misuse.hpp"

#include "base/start_data.hpp"
#include "diag/message.hpp"

namespace nebula::misuse {

constinit Counts counts;

namespace {

NEBULA_START_DATA constinit std::atomic<Action> action{Action::kAbort};

// With kWarn a program in a loop of errors must not fill its log.
constexpr std::uint64_t kLinesAtMost = 20;

void conclude(std::atomic<std::uint64_t>& count, const Text& line) {
  const std::uint64_t before = count.fetch_add(1, std::memory_order_relaxed);
  const bool aborting = action.load(std::memory_order_relaxed) == Action::kAbort;
  if (aborting || before < kLinesAtMost) say(aborting ? Level::kError : Level::kWarning, line.view());
  if (aborting) fatal::abort_process();
}

void name_slot(Text& line, std::size_t slot, std::size_t slot_size) {
  line << "slot " << std::uint64_t{slot} << " of a " << std::uint64_t{slot_size} << "-byte slab";
}

void name_call(Text& line, const char* call) { line << ", in " << call << "()"; }

void say_no_object(const char* relation, const char* place, const void* pointer, const char* call) {
  TextOf<256> line;
  line << "free of ";
  line.address(pointer) << ", which is no object" << relation << place;
  name_call(line, call);
  conclude(counts.invalid_frees, line);
}

}  // namespace

void set_action(Action wanted) { action.store(wanted, std::memory_order_relaxed); }

void double_free_of_slot(const void* pointer, std::size_t slot, std::size_t slot_size, const char* call) {
  TextOf<256> line;
  line << "double free of ";
  line.address(pointer) << ": ";
  name_slot(line, slot, slot_size);
  line << ", free already";
  name_call(line, call);
  conclude(counts.double_frees, line);
}

void interior_of_slot(const void* pointer, std::size_t slot, std::size_t slot_size, std::size_t offset,
                      const char* call) {
  TextOf<256> line;
  line << "free of ";
  line.address(pointer) << ", an interior pointer: " << std::uint64_t{offset} << " bytes into ";
  name_slot(line, slot, slot_size);
  name_call(line, call);
  conclude(counts.invalid_frees, line);
}

void never_allocated_slot(const void* pointer, std::size_t slot, std::size_t slot_size, const char* call) {
  TextOf<256> line;
  line << "free of ";
  line.address(pointer) << ", which is no object: ";
  name_slot(line, slot, slot_size);
  line << ", never allocated";
  name_call(line, call);
  conclude(counts.invalid_frees, line);
}

void interior_of_large(const void* pointer, std::size_t object_size, std::size_t offset, const char* call) {
  TextOf<256> line;
  line << "free of ";
  line.address(pointer) << ", an interior pointer: " << std::uint64_t{offset} << " bytes into a large object of "
                        << std::uint64_t{object_size} << " bytes";
  name_call(line, call);
  conclude(counts.invalid_frees, line);
}

void double_free_in(const char* place, const void* pointer, std::size_t object_size, const char* call) {
  TextOf<256> line;
  line << "double free of ";
  line.address(pointer) << ": " << std::uint64_t{object_size} << " bytes of " << place << ", free already";
  name_call(line, call);
  conclude(counts.double_frees, line);
}

void interior_in(const char* place, const void* pointer, std::size_t object_size, std::size_t offset, const char* call) {
  TextOf<256> line;
  line << "free of ";
  line.address(pointer) << ", an interior pointer: " << std::uint64_t{offset} << " bytes into an object of "
                        << std::uint64_t{object_size} << " bytes in " << place;
  name_call(line, call);
  conclude(counts.invalid_frees, line);
}

void no_object_in(const char* place, const void* pointer, const char* call) { say_no_object(": free memory of ", place, pointer, call); }

void no_object_of(const char* place, const void* pointer, const char* call) { say_no_object(" of ", place, pointer, call); }

void no_handle(const void* handle, const char* kind, const char* call) {
  TextOf<256> line;
  line.address(handle) << " is no " << kind << ", or one that was destroyed";
  name_call(line, call);
  conclude(counts.invalid_frees, line);
}

void no_object(const void* pointer, const char* call) { no_object_in("the heap", pointer, call); }

}  // namespace nebula::misuse
