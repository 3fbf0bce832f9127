// Heap bugs of the program, by name. What the pointer is was found out by the caller; here it becomes one line, is
// counted, and ends the process or not, as NEBULA_ON_MISUSE says.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace nebula::misuse {

enum class Action { kAbort, kWarn };
void set_action(Action action);

// Counts since start, for the report. All relaxed: they order nothing.
struct Counts {
  std::atomic<std::uint64_t> double_frees;
  std::atomic<std::uint64_t> invalid_frees;
  std::atomic<std::uint64_t> foreign_pointers;  // not our address: handed to libc or ignored
  std::atomic<std::uint64_t> foreign_to_libc;   // of these, the ones libc took
};
extern constinit Counts counts;

// Each names the pointer, what it points to, and the call. They return only when the action is kWarn; the caller then
// goes on as if the call had not been made.
void double_free_of_slot(const void* pointer, std::size_t slot, std::size_t slot_size, const char* call);
void interior_of_slot(const void* pointer, std::size_t slot, std::size_t slot_size, std::size_t offset,
                      const char* call);
void never_allocated_slot(const void* pointer, std::size_t slot, std::size_t slot_size, const char* call);
void interior_of_large(const void* pointer, std::size_t object_size, std::size_t offset, const char* call);
// place: where such objects lie, "a bump block".
void double_free_in(const char* place, const void* pointer, std::size_t object_size, const char* call);
void interior_in(const char* place, const void* pointer, std::size_t object_size, std::size_t offset, const char* call);
void no_object_in(const char* place, const void* pointer, const char* call);
void no_object(const void* pointer, const char* call);
// place: "this pool", which the call was for.
void no_object_of(const char* place, const void* pointer, const char* call);
// A call for an arena, a heap, … with what is none.
void no_handle(const void* handle, const char* kind, const char* call);

}  // namespace nebula::misuse
