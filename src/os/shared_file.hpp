// Small files that several processes map, and whether other processes live.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nebula::os {

enum class Opening {
  kCreate,  // fails when the name is taken
  kJoin,    // fails when there is no such file, or it is another user's, or of another size
};
// Maps `bytes` of a file that only this user may open, shared. Null, and in `error` a positive error number, when refused.
[[nodiscard]] void* map_shared_file(const char* path, std::size_t bytes, Opening opening, int& error);
void unmap(void* where, std::size_t bytes);
bool remove_file(const char* path);
// Calls visit(name, context) for what is in a folder, "." and ".." too.
void visit_folder(const char* path, void (*visit)(const char* name, void* context), void* context);

[[nodiscard]] std::uint32_t user_id();
// Of this process; 0 when /proc does not say. Processes of different ones cannot see each other.
[[nodiscard]] std::uint64_t process_namespace();
struct Life {
  bool is_alive = true;          // also when it cannot be told; not of a process that was killed and not waited for
  std::uint64_t start_time = 0;  // in the kernel's ticks since boot; 0 when /proc does not say
};
[[nodiscard]] Life life_of(int process_id);

// Sends a signal to this process, unless its action is the default one, which would end or stop it, or that cannot be told.
bool signal_self_if_handled(int signal);
// Ends this process at once; no handler runs.
[[noreturn]] void kill_self();

}  // namespace nebula::os
